package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/store"
)

// Ready implements gateway.Health: a shard without a leader, a full disk, or a
// catalog that was never read makes the node less than ready.
func (n *Node) Ready() error {
	if !n.serving.Load() {
		return errors.New("the node is starting or stopping")
	}
	if err := n.settled(); err != nil {
		return err
	}
	if n.host != nil && n.host.ReadOnly() {
		return errors.New("read-only: the disk is nearly full")
	}
	return nil
}

// settled tells whether the node knows its cluster, and its shards have leaders.
func (n *Node) settled() error {
	if n.directory.ClusterID() == "" {
		return errors.New("the catalog was not read yet")
	}
	if n.host == nil {
		return nil
	}
	for id, placed := range n.directory.Records().GetPlacements() {
		for _, r := range placed.GetReplicas() {
			if r.GetNodeId() == n.dir.Identity().NodeID && r.GetState() == internalv1.ReplicaState_REPLICA_STATE_FIRST {
				return fmt.Errorf("shard %d is being made", id)
			}
		}
	}
	for _, s := range n.host.Replicas() {
		if s.Leader == 0 {
			return &shards.NotLeaderError{Shard: s.Shard}
		}
	}
	return nil
}

const (
	settleInterval = 10 * time.Millisecond
	// settleTold is how often an operator is told what a start waits for.
	settleTold = 10 * time.Second
)

// settle waits until the node is settled. In a cluster it may wait for others.
func (n *Node) settle(ctx context.Context) error {
	ticker := time.NewTicker(settleInterval)
	defer ticker.Stop()
	told := time.Now()
	for {
		err := n.settled()
		if err == nil {
			return nil
		}
		if time.Since(told) > settleTold {
			n.cfg.Log.Warn("the node is not ready yet", "err", err)
			told = time.Now()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		case failed := <-n.failed:
			return failed
		}
	}
}

// statusReport is what /status tells.
type statusReport struct {
	NodeID        string                 `json:"node_id"`
	Name          string                 `json:"name"`
	ClusterID     string                 `json:"cluster_id"`
	UptimeSeconds float64                `json:"uptime_seconds"`
	ReadOnly      bool                   `json:"read_only"`
	Nodes         []nodeStatus           `json:"nodes,omitempty"`
	Shards        []shards.ReplicaStatus `json:"shards,omitempty"`
	// Placements are the nodes of each shard's voters, as the catalog has it.
	Placements map[shards.ShardID][]string `json:"placements,omitempty"`
	Store      *store.Metrics              `json:"store,omitempty"`
}

// nodeStatus is a node of the cluster as this one knows it.
type nodeStatus struct {
	NodeID      string `json:"node_id"`
	Name        string `json:"name"`
	Zone        string `json:"zone,omitempty"`
	State       string `json:"state"`
	Version     string `json:"version"`
	PeerAddress string `json:"peer_address,omitempty"`
	APIURL      string `json:"api_url"`
	// DeadSince is since when it gives no sign of life.
	DeadSince *time.Time `json:"dead_since,omitempty"`
	// ClockSkewSeconds is how far its clock is ahead of this node's, once it was
	// asked.
	ClockSkewSeconds *float64 `json:"clock_skew_seconds,omitempty"`
}

// Status implements gateway.Health.
func (n *Node) Status() any {
	s := statusReport{
		NodeID: n.dir.Identity().NodeID, ClusterID: n.dir.Identity().ClusterID, Name: n.cfg.Name,
		UptimeSeconds: time.Since(n.started).Seconds(), Nodes: n.nodes(), Placements: n.placements(),
	}
	if n.serving.Load() && n.host != nil {
		metrics := n.store.Metrics()
		s.ReadOnly, s.Shards, s.Store = n.host.ReadOnly(), n.host.Replicas(), &metrics
	}
	return s
}

// nodes lists the nodes of the cluster by name, without those that were removed.
func (n *Node) nodes() []nodeStatus {
	var list []nodeStatus
	for id, record := range n.directory.Nodes() {
		if record.GetState() == internalv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		s := nodeStatus{
			NodeID: id, Name: record.GetName(), Zone: record.GetZone(), State: stateName(record.GetState()),
			Version: record.GetVersion(), PeerAddress: record.GetPeerAddress(), APIURL: record.GetApiUrl(),
		}
		if ms := record.GetDeadSinceMs(); ms != 0 {
			since := time.UnixMilli(int64(ms))
			s.DeadSince, s.State = &since, "dead"
		}
		if skew, ok := n.skews.of(id); ok {
			seconds := skew.Seconds()
			s.ClockSkewSeconds = &seconds
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b nodeStatus) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// placements lists the nodes of each shard's voters.
func (n *Node) placements() map[shards.ShardID][]string {
	list := make(map[shards.ShardID][]string)
	for id, placed := range n.directory.Records().GetPlacements() {
		voters := []string{}
		for _, r := range placed.GetReplicas() {
			if r.GetState() == internalv1.ReplicaState_REPLICA_STATE_VOTER {
				voters = append(voters, r.GetNodeId())
			}
		}
		list[shards.ShardID(id)] = voters
	}
	return list
}

func stateName(state internalv1.NodeState) string {
	switch state {
	case internalv1.NodeState_NODE_STATE_ACTIVE:
		return "active"
	case internalv1.NodeState_NODE_STATE_DRAINING:
		return "draining"
	case internalv1.NodeState_NODE_STATE_REMOVED:
		return "removed"
	default:
		return "unknown"
	}
}
