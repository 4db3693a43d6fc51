package route

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/flotillakv/flotilla/shards"
)

// leaders is what a router has learned of who leads: by the refusals of those it
// asked. It knows only shards where that mattered. The zero value is ready for use.
type leaders struct {
	mu      sync.Mutex
	byShard map[shards.ShardID]*hints
}

// hints is what is known of one shard.
type hints struct {
	// leader was named by another node; empty if none was.
	leader string
	// ignored is who this node's replica believed in when somebody who was asked
	// knew better: it is not taken for as long as it believes in that one.
	ignored string
	// stale is until when this node's replica is not asked for what is current: it
	// was not in time.
	stale time.Time
	// turn counts through the nodes that have a replica while no leader is known.
	turn int
}

// of returns the hints for a shard, to be changed. It needs mu.
func (l *leaders) of(shard shards.ShardID) *hints {
	if l.byShard == nil {
		l.byShard = make(map[shards.ShardID]*hints)
	}
	h := l.byShard[shard]
	if h == nil {
		h = &hints{}
		l.byShard[shard] = h
	}
	return h
}

// known returns what is known of a shard.
func (l *leaders) known(shard shards.ShardID) hints {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.byShard[shard]; h != nil {
		return *h
	}
	return hints{}
}

// lag notes that this node's replica is not current.
func (l *leaders) lag(shard shards.ShardID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(shard).stale = time.Now().Add(2 * currentMax)
}

// lagging tells whether this node's replica was not current a moment ago.
func (l *leaders) lagging(shard shards.ShardID) bool { return time.Now().Before(l.known(shard).stale) }

// target is the node to bring a command to: the shard's leader, as far as can be
// told; "" if nobody can be asked.
func (r *Router) target(shard shards.ShardID) string {
	if r.cfg.Remote == nil {
		return r.cfg.NodeID
	}
	believed, _ := r.cfg.Local.Leader(shard)
	known := r.leaders.known(shard)
	if believed != "" && believed != known.ignored {
		return believed
	}
	if known.leader != "" {
		return known.leader
	}
	hosts := r.cfg.Directory.Hosts(shard)
	if len(hosts) == 0 {
		return believed // the first node of a cluster has no directory yet
	}
	return hosts[known.turn%len(hosts)]
}

// refused learns from what a node answered. It tells whether another one is to be
// asked now, which then need not wait.
func (r *Router) refused(shard shards.ShardID, node string, err error) (moved bool) {
	if r.cfg.Remote == nil {
		return false
	}
	if r.target(shard) != node {
		return true // somebody else has learned it
	}
	named := ""
	if e, ok := errors.AsType[*shards.NotLeaderError](err); ok && e.Node != node {
		named = e.Node
	}
	believed, _ := r.cfg.Local.Leader(shard)
	turn := slices.Index(r.cfg.Directory.Hosts(shard), node) + 1
	r.leaders.mu.Lock()
	h := r.leaders.of(shard)
	h.leader = named
	if named == "" {
		h.turn = turn
	}
	switch {
	case node == believed, named != "" && named != believed:
		h.ignored = believed
	case named == believed:
		h.ignored = ""
	}
	r.leaders.mu.Unlock()
	next := r.target(shard)
	return next != node && next != ""
}
