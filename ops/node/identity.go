package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/flotillakv/flotilla/ops/datadir"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// openDirectory takes the data directory, which says who the node is, and finds
// out which cluster it belongs to if it is new.
func (n *Node) openDirectory(ctx context.Context) (func() error, error) {
	recorded, known, err := datadir.Recorded(n.cfg.DataDir)
	if err != nil {
		return nil, err
	}
	cluster := recorded.ClusterID
	switch {
	case known: // it is what it is; whoever answers must agree
		err = n.checkCluster(ctx, recorded)
	case n.cfg.Bootstrap:
		n.bootstraps = true // and its directory makes the cluster's id
	case len(n.cfg.Join) > 0:
		cluster, err = n.findCluster(ctx)
	default:
		err = fmt.Errorf("the data directory %s is new: start the cluster's first node with --bootstrap, and every other with --join and the peer address of one that runs", n.cfg.DataDir)
	}
	if err != nil {
		return nil, err
	}
	layout := datadir.Layout{LogStoreShards: n.cfg.Shards.LogStores, ExecShards: n.cfg.Shards.LogStores}
	dir, err := datadir.Open(n.cfg.DataDir, datadir.Options{ClusterID: cluster, Layout: layout, Now: n.started})
	if err != nil {
		return nil, err
	}
	n.dir = dir
	directory, err := dir.LoadDirectory()
	if err != nil {
		n.cfg.Log.Warn("the others are found by --join alone", "err", err)
	}
	n.directory.Seed(directory)
	if err := n.refuseClone(ctx); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	n.introduces = true
	return dir.Close, nil
}

// findCluster asks those that are to be joined which cluster they are, until one
// answers.
func (n *Node) findCluster(ctx context.Context) (id string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, n.cfg.JoinTimeout, errNobodyAnswers)
	defer cancel()
	err = again(ctx, n.cfg.Log, "finding the cluster", func(ctx context.Context) error {
		found, err := n.meet(ctx, n.cfg.Join)
		if len(found) == 0 {
			return err
		}
		id = found[0].GetClusterId()
		for _, other := range found {
			if other.GetClusterId() != id {
				return final(fmt.Errorf("--join names nodes of two clusters, %s and %s: name nodes of one", id, other.GetClusterId()))
			}
			n.directory.Seed(other.GetDirectory())
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("join the cluster: %w", err)
	}
	return id, nil
}

var errNobodyAnswers = errors.New("none of the addresses of --join answers: check them, that a node runs there, and that it shows a certificate of the same authority")

// checkCluster refuses to start a node among those of another cluster. That
// nobody answers is no reason: it may be the first to come back.
func (n *Node) checkCluster(ctx context.Context, recorded datadir.Identity) error {
	if len(n.cfg.Join) == 0 {
		return nil
	}
	found, _ := n.meet(ctx, n.cfg.Join)
	for _, other := range found {
		if other.GetClusterId() != recorded.ClusterID {
			return &datadir.ClusterError{Path: n.cfg.DataDir, Recorded: recorded.ClusterID, Wanted: other.GetClusterId()}
		}
		n.directory.Seed(other.GetDirectory())
	}
	return nil
}

// CloneError says that a process with the same identity runs.
type CloneError struct {
	NodeID string
	// Address is where it answers.
	Address string
}

func (e *CloneError) Error() string {
	return fmt.Sprintf("node %s runs already, and answers at %s: this data directory is a copy of the other's; run one of the two, and give the other an empty directory", e.NodeID, e.Address)
}

// refuseClone looks whether this node runs elsewhere: where it was when it was
// seen last, by itself and by whoever can be asked.
func (n *Node) refuseClone(ctx context.Context) error {
	id := n.dir.Identity().NodeID
	addresses := map[string]bool{}
	note := func(d *internalv1.Directory) {
		if address := d.GetNodes()[id].GetPeerAddress(); address != "" {
			addresses[address] = true
		}
	}
	note(n.directory.Records())
	found, _ := n.meet(ctx, n.others())
	for _, other := range found {
		note(other.GetDirectory())
		n.directory.Seed(other.GetDirectory())
	}
	for address := range addresses {
		there, err := n.hello(ctx, address)
		if err == nil && there.GetNodeId() == id && there.GetBootId() != n.bootID {
			return &CloneError{NodeID: id, Address: address}
		}
	}
	return nil
}

// others are the peer addresses of all other nodes that are known of.
func (n *Node) others() []string {
	addresses := append([]string(nil), n.cfg.Join...)
	for id, record := range n.directory.Nodes() {
		if id != n.dir.Identity().NodeID && record.GetPeerAddress() != "" &&
			record.GetState() != internalv1.NodeState_NODE_STATE_REMOVED {
			addresses = append(addresses, record.GetPeerAddress())
		}
	}
	return addresses
}
