package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// Status is what /status tells of a node, and of the cluster as it knows it. It
// only grows.
type Status struct {
	NodeID        string                 `json:"node_id"`
	Name          string                 `json:"name"`
	ClusterID     string                 `json:"cluster_id"`
	UptimeSeconds float64                `json:"uptime_seconds"`
	ReadOnly      bool                   `json:"read_only"`
	Nodes         []Member               `json:"nodes,omitempty"`
	Placements    []PlacementStatus      `json:"placements,omitempty"`
	Shards        []shards.ReplicaStatus `json:"shards,omitempty"`
	Store         *store.Metrics         `json:"store,omitempty"`
}

// Member is a node of the cluster.
type Member struct {
	NodeID      string `json:"node_id"`
	Name        string `json:"name"`
	Zone        string `json:"zone,omitempty"`
	Hosts       bool   `json:"hosts"`
	State       string `json:"state"`
	Version     string `json:"version"`
	PeerAddress string `json:"peer_address,omitempty"`
	APIURL      string `json:"api_url"`
	// DeadSince is since when it gives no sign of life.
	DeadSince *time.Time `json:"dead_since,omitempty"`
	// ClockSkewSeconds is how far its clock is ahead of that of the node that
	// tells, once that one has asked it.
	ClockSkewSeconds *float64 `json:"clock_skew_seconds,omitempty"`
}

// PlacementStatus is where a shard's replicas are, as the catalog has it.
type PlacementStatus struct {
	Shard    shards.ShardID  `json:"shard"`
	Replicas []PlacedReplica `json:"replicas"`
}

// PlacedReplica is one replica of a shard: how far it is in its life is told in
// the words of internal.v1.ReplicaState.
type PlacedReplica struct {
	Replica  uint64 `json:"replica"`
	NodeID   string `json:"node_id"`
	NodeName string `json:"node_name"`
	// NodeRemoved tells that the node was removed from the cluster, and the replica
	// waits for another node to replace it.
	NodeRemoved bool   `json:"node_removed,omitempty"`
	State       string `json:"state"`
}

// Status implements gateway.Health.
func (n *Node) Status() any {
	s := Status{
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
func (n *Node) nodes() []Member {
	var list []Member
	for id, record := range n.directory.Nodes() {
		if record.GetState() == internalv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		s := Member{
			NodeID: id, Name: record.GetName(), Zone: record.GetZone(), Hosts: record.GetHosts(), State: strings.ToLower(strings.TrimPrefix(record.GetState().String(), "NODE_STATE_")),
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
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// placements lists the shards with their replicas.
func (n *Node) placements() []PlacementStatus {
	var list []PlacementStatus
	for id, placed := range n.directory.Records().GetPlacements() {
		p := PlacementStatus{Shard: shards.ShardID(id), Replicas: []PlacedReplica{}}
		for _, r := range placed.GetReplicas() {
			state := strings.ToLower(strings.TrimPrefix(r.GetState().String(), "REPLICA_STATE_"))
			host := n.directory.Node(r.GetNodeId())
			p.Replicas = append(p.Replicas, PlacedReplica{
				Replica: r.GetReplicaId(), NodeID: r.GetNodeId(), NodeName: host.GetName(),
				NodeRemoved: host.GetState() == internalv1.NodeState_NODE_STATE_REMOVED, State: state,
			})
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b PlacementStatus) int { return cmp.Compare(a.Shard, b.Shard) })
	return list
}
