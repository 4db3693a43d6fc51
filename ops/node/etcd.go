package node

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/flotillakv/flotilla/gateway/etcd"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
)

func (n *Node) serveEtcd(ctx context.Context) (func() error, error) {
	cfg := n.cfg.Etcd
	cfg.TLS, cfg.Proxies = n.tls.etcd, n.proxies
	cfg.ClusterID, cfg.NodeID = n.dir.Identity().ClusterID, n.dir.Identity().NodeID
	cfg.Members, cfg.TempDir, cfg.Unread = n.etcdMembers, n.dir.Path(), n.unread
	var replicas etcd.Node = noReplicas{}
	if n.host != nil {
		replicas = n.host
	}
	server := etcd.New(cfg, n.kv, replicas, n.authenticator, n.metrics, n.cfg.Log)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(n.ports.etcd); err != nil {
			n.fail(err)
		}
	})
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		server.Stop(ctx)
		serving.Wait()
		return nil
	}, nil
}

// etcdMembers lists the nodes that were not removed, by name. This one it knows
// without the catalog.
func (n *Node) etcdMembers() []etcd.Member {
	self := n.dir.Identity().NodeID
	list := []etcd.Member{{NodeID: self, Name: n.cfg.Name, URL: n.EtcdURL()}}
	for id, record := range n.directory.Nodes() {
		if id != self && record.GetState() != internalv1.NodeState_NODE_STATE_REMOVED && record.GetEtcdUrl() != "" {
			list = append(list, etcd.Member{NodeID: id, Name: record.GetName(), URL: record.GetEtcdUrl()})
		}
	}
	slices.SortFunc(list, func(a, b etcd.Member) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// noReplicas is what a node tells of its replicas that has none.
type noReplicas struct{}

// Term implements etcd.Node.
func (noReplicas) Term(shards.ShardID) uint64 { return 0 }

// ShardStatus implements etcd.Node.
func (noReplicas) ShardStatus(shards.ShardID) (shards.ReplicaStatus, bool) {
	return shards.ReplicaStatus{}, false
}

// ReadOnly implements etcd.Node.
func (noReplicas) ReadOnly() bool { return false }
