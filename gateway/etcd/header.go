package etcd

import (
	"hash/fnv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

// Node is what is told of this node's replicas.
type Node interface {
	// Term is the Raft term of a shard.
	Term(shard shards.ShardID) uint64
	// ShardStatus tells of this node's replica of a shard, if it has one.
	ShardStatus(shard shards.ShardID) (shards.ReplicaStatus, bool)
	// ReadOnly tells whether writes are refused for want of space.
	ReadOnly() bool
}

// identity numbers what etcd numbers: clusters and members.
type identity struct {
	cluster uint64
	member  uint64
}

// newIdentity derives the numbers from the ids of the cluster and the node, so
// that they stay over restarts.
func newIdentity(clusterID, nodeID string) identity {
	return identity{cluster: hashOf("cluster", clusterID), member: memberOf(nodeID)}
}

// memberOf is the number of a node as a member.
func memberOf(nodeID string) uint64 { return max(hashOf("member", nodeID), 1) }

func hashOf(parts ...string) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		_, _ = h.Write([]byte(part))
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

// clusterOf is the number of the etcd cluster that a namespace looks like: the
// same at every node, and different for every namespace, so that a client that
// is led to another one's notices.
func (id identity) clusterOf(namespace tenancy.NamespaceID) uint64 {
	// The finalizer of SplitMix64, which no two inputs share.
	x := id.cluster + uint64(namespace)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return max(x^x>>31, 1)
}

// header is the header of an answer. The revision is the namespace's, or 0
// where etcd tells none.
func (s *Server) header(c *caller, revision uint64) *pb.ResponseHeader {
	return &pb.ResponseHeader{
		ClusterId: s.identity.clusterOf(c.place.Namespace), MemberId: s.identity.member,
		Revision: int64(revision), RaftTerm: s.node.Term(c.place.Shard),
	}
}
