package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/flotillakv/flotilla/gateway/peer"
	"github.com/flotillakv/flotilla/placement"
	"github.com/flotillakv/flotilla/placement/plan"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/fault"
)

func (n *Node) self() placement.Self {
	return placement.Self{ClusterID: n.dir.Identity().ClusterID, NodeID: n.dir.Identity().NodeID, BootID: n.bootID}
}

// servePeers lets other nodes in: they meet this one, and use its shards.
func (n *Node) servePeers(ctx context.Context) (func() error, error) {
	hello := func(ctx context.Context, address string, _ *internalv1.HelloRequest) (*internalv1.HelloResponse, error) {
		return n.hello(ctx, address)
	}
	n.membership = placement.NewMembership(n.self(), n.catalog, n.directory, hello, fault.Now, n.cfg.Log)
	if n.alone() {
		return nothing, nil
	}
	id := n.dir.Identity()
	cfg := peer.ServerConfig{ClusterID: id.ClusterID, NodeID: id.NodeID, TLS: n.tls.clusterServer, Membership: &membership{n.membership, n}, Quota: n.meter.Server(), Log: n.cfg.Log}
	if n.host != nil {
		cfg.Local = n.host
	}
	server := peer.NewServer(cfg, n.metrics)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(n.ports.peer); err != nil {
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

var errNotAdmitted = errors.New("the cluster takes no new node: its system shard has no leader, or cannot be reached")

// join has the catalog know the node. A node that is new to the cluster waits for
// it, because it has nothing to do before; one that was there goes on, because the
// catalog may wait for it to have a quorum.
func (n *Node) join(ctx context.Context) (func() error, error) {
	if n.alone() { // it waits for nobody but its own log
		defer close(n.registered)
		return nothing, again(ctx, n.cfg.Log, "reading the catalog", n.register)
	}
	if n.bootstraps || n.directory.Node(n.dir.Identity().NodeID) == nil {
		waiting, cancel := context.WithTimeoutCause(ctx, n.cfg.JoinTimeout, errNotAdmitted)
		defer cancel()
		defer close(n.registered)
		return nothing, again(waiting, n.cfg.Log, "joining the cluster", n.register)
	}
	return n.background(ctx, func(ctx context.Context) error {
		err := again(ctx, n.cfg.Log, "joining the cluster", n.register)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was to end
		}
		close(n.registered)
		return err
	}), nil
}

// live keeps the node's sign of life, once the catalog knows this process: until
// then it would take the one before for a copy of it.
func (n *Node) live(ctx context.Context) error {
	select {
	case <-n.registered:
		return placement.NewLife(n.catalog, n.self(), n.fail, n.cfg.Log).Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// register makes one attempt to have the catalog know the node.
func (n *Node) register(ctx context.Context) error {
	if n.dir.HasReplica(shards.SystemShard, shards.FirstReplica) {
		if err := n.catalog.EnsureCluster(ctx, n.bootstrap()); err != nil {
			return fmt.Errorf("make the cluster: %w", err)
		}
	}
	if n.alone() {
		return n.growShards(ctx)
	}
	// The others may have learned where the catalog is since they were asked.
	if err := n.askAround(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	if err := n.checkShards(ctx); err != nil {
		return err // before the catalog knows a node that does not start
	}
	id := n.dir.Identity()
	directory, err := n.membership.Join(ctx, placement.Joining{ClusterID: id.ClusterID, NodeID: id.NodeID, Node: n.record()})
	if _, refused := errors.AsType[*placement.RefusedError](err); refused {
		return final(fmt.Errorf("join the cluster: %w", err))
	}
	if err != nil {
		return fmt.Errorf("join the cluster: %w", err)
	}
	n.directory.Seed(directory)
	return n.growShards(ctx)
}

// registerTimeout is how long one attempt may take: one that began before there
// was a leader should not keep the next from it.
const registerTimeout = 5 * time.Second

// askAround takes over what other nodes know of the cluster, and where they are.
func (n *Node) askAround(ctx context.Context) error {
	found, err := n.meet(ctx, n.others())
	for _, other := range found {
		if other.GetClusterId() == n.dir.Identity().ClusterID {
			n.directory.Seed(other.GetDirectory())
		}
	}
	if len(n.directory.Hosts(shards.SystemShard)) == 0 && !n.dir.HasReplica(shards.SystemShard, shards.FirstReplica) {
		return errors.Join(errors.New("no node that answers knows where the catalog is"), err)
	}
	return nil
}

// growShards adds the shards that --data-shards asks for beyond those there are.
func (n *Node) growShards(ctx context.Context) error {
	if err := n.checkShards(ctx); err != nil || n.cfg.DataShards == 0 {
		return err
	}
	return n.catalog.GrowShards(ctx, n.cfg.DataShards)
}

// checkShards refuses a --data-shards that is less than what there is.
func (n *Node) checkShards(ctx context.Context) error {
	if n.cfg.DataShards == 0 {
		return nil
	}
	records, err := n.catalog.Records(ctx)
	if err != nil {
		return err
	}
	have := len(records.Directory.GetPlacements()) - 1 // the system shard is none of them
	if have > n.cfg.DataShards {
		return final(fmt.Errorf("--data-shards is %d, but the cluster has %d, and shards are not taken away: leave the flag out", n.cfg.DataShards, have))
	}
	return nil
}

// startPlacement runs what keeps the catalog and the cluster true.
func (n *Node) startPlacement(ctx context.Context) (func() error, error) {
	id := n.dir.Identity().NodeID
	parts := []func(context.Context) error{n.catalog.Run, n.saveDirectory, n.keyUses.Run}
	if n.host != nil {
		parts = append(parts, placement.NewAgent(id, n.host, n.catalog, n.directory, n.cfg.Log).Run,
			placement.NewReaper(id, n.host, n.catalog, n.cfg.Log).Run)
	}
	if n.host != nil && !n.alone() {
		policy := plan.Policy{ReplaceAfter: n.cfg.ReplaceAfter}
		parts = append(parts, placement.NewLoop(id, n.host, n.catalog, n.directory, policy, n.metrics, fault.Now, n.cfg.Log).Run)
	}
	if !n.alone() {
		parts = append(parts, n.live, n.watchClocks)
	}
	var stops []func() error
	for _, run := range parts {
		stops = append(stops, n.background(ctx, run))
	}
	return func() error {
		for _, stop := range stops {
			_ = stop() // it is always nil
		}
		return nil
	}, nil
}

// saveDirectory keeps what is known of the others on disk, as it changes.
func (n *Node) saveDirectory(ctx context.Context) error {
	n.directory.OnChange(ctx, func(records *internalv1.Directory) {
		if records.GetRevision() == 0 {
			return
		}
		if err := n.dir.SaveDirectory(records); err != nil {
			n.cfg.Log.Warn("what is known of other nodes is not kept", "err", err)
		}
	})
	return nil
}
