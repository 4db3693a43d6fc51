package main

import "context"

// target is a server as its users see it, through its Go client. Safe for
// concurrent use.
type target interface {
	// Put writes a key and returns its revision.
	Put(ctx context.Context, key string, value []byte) (revision uint64, err error)
	// Get reads a key that must exist.
	Get(ctx context.Context, key string, serializable bool) (found, error)
	// Range reads the keys from start to before end, and tells how many.
	Range(ctx context.Context, start, end string) (keys int, err error)
	// Swap writes a key if its revision is still what the caller knows, in a
	// transaction. It fails if it is not.
	Swap(ctx context.Context, key string, value []byte, known uint64) (revision uint64, err error)
	// Fill writes up to fillKeys keys the fastest way that the client has.
	Fill(ctx context.Context, pairs []pair) error
	// Close ends the connections.
	Close() error
}

// found is what Get found: the revision of the key's last write, and the size
// of its value.
type found struct {
	revision uint64
	bytes    int
}

// pair is a key to write.
type pair struct {
	key   string
	value []byte
}

// side is one of the two that are compared.
type side struct {
	name   string
	server *server
	// connect makes a client; callers share a few.
	connect func() (target, error)
	clients []target
	// etcdAddress is where it serves etcd's API.
	etcdAddress string
	// profileURL answers with a CPU profile of the server; "" if it has none.
	profileURL func() (string, error)
}

// open makes the clients that callers share.
func (s *side) open(n int) error {
	for range n {
		client, err := s.connect()
		if err != nil {
			return err
		}
		s.clients = append(s.clients, client)
	}
	return nil
}

// close ends the clients and the server.
func (s *side) close() {
	for _, client := range s.clients {
		_ = client.Close() // of no interest: the server ends as well
	}
	s.clients = nil
	s.server.stop()
	_ = s.server.limit.remove() // an empty group does no harm
}

// client is the one that a caller uses.
func (s *side) client(caller int) target { return s.clients[caller%len(s.clients)] }
