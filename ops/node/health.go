package node

import (
	"errors"
	"time"

	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/store"
)

// Ready implements gateway.Health: a shard without a leader, or a full disk,
// makes the node less than ready.
func (n *Node) Ready() error {
	if !n.serving.Load() {
		return errors.New("the node is starting or stopping")
	}
	for _, s := range n.host.Replicas() {
		if s.Leader == 0 {
			return &shards.NotLeaderError{Shard: s.Shard}
		}
	}
	if n.host.ReadOnly() {
		return errors.New("read-only: the disk is nearly full")
	}
	return nil
}

// status is what /status tells.
type status struct {
	NodeID        string               `json:"node_id"`
	UptimeSeconds float64              `json:"uptime_seconds"`
	ReadOnly      bool                 `json:"read_only"`
	Shards        []shards.ReplicaStatus `json:"shards"`
	Store         store.Metrics        `json:"store"`
}

// Status implements gateway.Health.
func (n *Node) Status() any {
	if !n.serving.Load() {
		return status{NodeID: n.dir.Identity().NodeID, UptimeSeconds: time.Since(n.started).Seconds()}
	}
	return status{
		NodeID: n.dir.Identity().NodeID, UptimeSeconds: time.Since(n.started).Seconds(),
		ReadOnly: n.host.ReadOnly(), Shards: n.host.Replicas(), Store: n.store.Metrics(),
	}
}
