package meter

import (
	"hash/fnv"
	"io"
	"sync/atomic"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/tenancy"
)

// nodes are those that can be homes, as the directory tells it.
type nodes struct {
	self      string
	directory Directory
	known     atomic.Pointer[view]
}

// view is what the nodes are at a moment. It is not changed.
type view struct {
	records *internalv1.Directory
	self    string
	live    []string
}

func (n *nodes) init(cfg Config) {
	n.self, n.directory = cfg.NodeID, cfg.Directory
	if cfg.Remote == nil {
		n.directory = nil
	}
	n.known.Store(&view{self: n.self})
}

// now is the present view: another one only after the directory has changed.
func (n *nodes) now() *view {
	v := n.known.Load()
	if n.directory == nil {
		return v
	}
	records := n.directory.Records()
	if v.records == records {
		return v
	}
	next := &view{records: records, self: n.self}
	for id, record := range records.GetNodes() {
		if isLive(record) {
			next.live = append(next.live, id)
		}
	}
	n.known.Store(next)
	return next
}

// isLive tells whether a node can be a home. One that is about to stop is none, so
// that another one takes over while it still runs.
func isLive(record *internalv1.NodeRecord) bool {
	return record.GetState() == internalv1.NodeState_NODE_STATE_ACTIVE &&
		record.GetDeadSinceMs() == 0 && record.GetPeerAddress() != ""
}

// home is the node that keeps a tenant's tokens: the one with the highest hash, so
// that a node which comes or goes moves no tenants but its own.
func (v *view) home(tenant tenancy.TenantID) string {
	home, most := v.self, uint64(0)
	for _, node := range v.live {
		if weight := weigh(tenant, node); weight > most || weight == most && node < home {
			home, most = node, weight
		}
	}
	return home
}

func weigh(tenant tenancy.TenantID, node string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, string(tenant)) // it never fails
	_, _ = io.WriteString(h, "/")
	_, _ = io.WriteString(h, node)
	// FNV hardly changes the high bits for the last bytes; this does.
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// part is among how many nodes a rate is divided while its home is away.
func (v *view) part() int { return max(len(v.live), 1) }
