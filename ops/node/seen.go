package node

import (
	"context"
	"sync"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// seen are the nodes as they said themselves, by id. The catalog knows a node's
// new address only once the node is registered there; nodes that all come back
// under other addresses need each other's for the catalog to have a leader.
//
// A node's word holds until the catalog's record of it changes: then the catalog
// knows better.
type seen struct {
	mu     sync.Mutex
	byNode map[string]word
}

type word struct {
	said *internalv1.NodeRecord
	// recorded is the process that the catalog had recorded when it was said.
	recorded string
}

// seenMax bounds what is kept of nodes that nobody registered.
const seenMax = 4096

func (s *seen) note(id string, said, recorded *internalv1.NodeRecord) {
	switch {
	case id == "", said.GetBootId() == "", said.GetPeerAddress() == "":
		return // it says nothing
	case said.GetBootId() == recorded.GetBootId(), said.GetBootTimeMs() <= recorded.GetBootTimeMs():
		return // the catalog knows as much, or a later process
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byNode == nil || len(s.byNode) >= seenMax {
		s.byNode = make(map[string]word)
	}
	s.byNode[id] = word{said: said, recorded: recorded.GetBootId()}
}

// present is a node's own word, if it is newer than the catalog's.
func (s *seen) present(id string, recorded *internalv1.NodeRecord) *internalv1.NodeRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.byNode[id]
	if !ok {
		return recorded
	}
	if w.recorded != recorded.GetBootId() {
		delete(s.byNode, id)
		return recorded
	}
	return w.said
}

// noteSeen notes what a node said of itself.
func (n *Node) noteSeen(id string, said *internalv1.NodeRecord) {
	n.seen.note(id, said, n.directory.Node(id))
}

// peerAddress is where the RPC of a node is reached, "" if that is not known.
func (n *Node) peerAddress(id string) string {
	return n.seen.present(id, n.directory.Node(id)).GetPeerAddress()
}

// raftAddress is where Raft of a node is reached.
func (n *Node) raftAddress(id string) (string, bool) {
	address := n.seen.present(id, n.directory.Node(id)).GetRaftAddress()
	return address, address != ""
}

// membership adds to what placement answers other nodes where this one is, and
// notes where they are.
type membership struct {
	internalv1.MembershipServiceServer
	node *Node
}

// Hello implements internalv1.MembershipServiceServer.
func (m *membership) Hello(ctx context.Context, req *internalv1.HelloRequest) (*internalv1.HelloResponse, error) {
	response, err := m.MembershipServiceServer.Hello(ctx, req)
	if err != nil {
		return nil, err
	}
	if req.GetClusterId() == m.node.dir.Identity().ClusterID {
		m.node.noteSeen(req.GetNodeId(), req.GetNode())
	}
	response.Node = m.node.record()
	return response, nil
}
