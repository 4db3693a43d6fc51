package peer

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/flotillakv/flotilla/shards/fair"
)

// PoolConfig is how a node asks others. Zero fields take the defaults.
type PoolConfig struct {
	// ClusterID is the cluster whose nodes are asked.
	ClusterID string
	// Address is where the peer port of a node is, host:port, asked whenever a
	// connection is made; "" if it is not known.
	Address func(node string) string
	// TLS shows this node's certificate and verifies that of others; nil is no
	// encryption. The certificate must be good for the host of the address, unless
	// it has a ServerName.
	TLS *tls.Config
	// Source is the local address that connections leave from; nil is any.
	Source net.IP
	// Queue bounds what waits for one node.
	Queue fair.Config
	// InFlightMax and InFlightBytesMax bound what one node was asked and has not
	// answered: commands and queries, and bytes of their requests. Of both a tenant
	// has a quarter at most, and no more than fair.Fits lets in; the platform has a
	// quarter besides. Default 32,768 and 128 MiB.
	InFlightMax, InFlightBytesMax int
	// SilenceMax is after how long without a word a node that was asked something
	// counts as gone. Default 3 s.
	SilenceMax time.Duration
	// ConnectTimeout is how long making a connection may take. Default 2 s.
	ConnectTimeout time.Duration
	Log            *slog.Logger
}

func (c PoolConfig) withDefaults() PoolConfig {
	c.InFlightMax = cmp.Or(c.InFlightMax, 32<<10)
	c.InFlightBytesMax = cmp.Or(c.InFlightBytesMax, 128<<20)
	c.SilenceMax = cmp.Or(c.SilenceMax, 3*time.Second)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 2*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

const (
	// messageOperations and messageBytes are when a message is full.
	messageOperations = 1024
	messageBytes      = 1 << 20
	// answerBytesMax bounds one answer; a larger one is refused.
	answerBytesMax = 48 << 20
	// receiveBytesMax is the largest message that is taken: an answer alone, or a
	// full message.
	receiveBytesMax = answerBytesMax + messageBytes
	// requestBytesMax is the largest message that a server takes: the largest
	// command there is, and some.
	requestBytesMax = 16 << 20
	// windowBytes is how much either side may send ahead of the other's reading,
	// on each stream and on the connection.
	windowBytes = 4 << 20
	// watchWindowBytes is the same for a stream of watches: there may be one for
	// each caller, and each may be slow. So many bytes of all of them may wait on
	// this node besides what was received.
	watchWindowBytes = 64 << 10
	// groupQueriesMax bounds the queries of one operation, and groupAnswerBytes is
	// after how many bytes of answers the rest of them wait for another one.
	groupQueriesMax  = 2048
	groupAnswerBytes = 1 << 20
)
