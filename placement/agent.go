package placement

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
)

// How an agent works.
const (
	// agentEvery is how often it looks by itself: no record changes when the
	// leader of a shard does.
	agentEvery = 250 * time.Millisecond
	// agentIdle is what it waits after it found nothing to do, though the
	// directory had said so: that may be old, for as long as its watch hangs.
	agentIdle = 100 * time.Millisecond
	// workersMax bounds the shards that it does something for at a time, and
	// transfersMax those whose leadership it hands over: a shard takes no
	// writes meanwhile.
	workersMax   = 8
	transfersMax = 2
	// actTimeout bounds one action: what Raft loses on its way is asked for
	// again. Catching up takes as many as it needs.
	actTimeout = 5 * time.Second
	// What it waits after a failure, at first and at most.
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
	// handOverMin and handOverMax are what it waits after a hand-over that
	// failed: each keeps the shard's writers waiting.
	handOverMin = 10 * time.Second
	handOverMax = 5 * time.Minute
	// reconcileEvery is how often it looks for members of the groups it leads
	// that no record knows.
	reconcileEvery = time.Minute
)

// Host runs replicas and changes Raft groups; it is shards.Host.
type Host interface {
	Replicas() []shards.ReplicaStatus
	StartReplica(spec shards.ReplicaSpec) error
	DropReplica(ctx context.Context, shard shards.ShardID, replica uint64) error
	Current(ctx context.Context, shard shards.ShardID) error
	Membership(ctx context.Context, shard shards.ShardID) ([]shards.Member, error)
	AddNonVoting(ctx context.Context, shard shards.ShardID, replica uint64, node string) error
	Promote(ctx context.Context, shard shards.ShardID, replica uint64, node string) error
	RemoveReplica(ctx context.Context, shard shards.ShardID, replica uint64) error
	TransferLeader(ctx context.Context, shard shards.ShardID, replica uint64) error
	SetLevel(level uint32)
}

// Placements are the records of placements; they are the catalog.
type Placements interface {
	Placement(ctx context.Context, shard shards.ShardID) (*internalv1.PlacementRecord, error)
	ChangePlacement(ctx context.Context, shard shards.ShardID, edit func(*internalv1.PlacementRecord) bool) error
}

// Agent does on its node what the placements ask for.
//
// A1: it acts upon a placement that it has read for that very action. What the
// directory knows only tells it when to look, as it may be old.
//
// A2: the record follows the Raft group: it is changed after the group was, and a
// change that is found made is not made again. So a crash between the two is
// repaired by whoever leads next.
type Agent struct {
	self       string
	host       Host
	placements Placements
	directory  *catalog.Directory
	log        *slog.Logger

	wake      chan struct{} // holds a token when a worker has ended
	transfers chan struct{} // holds a token for each hand-over
	workers   sync.WaitGroup

	// mu guards shards.
	mu     sync.Mutex
	shards map[shards.ShardID]*work
}

// work is what an agent remembers of a shard.
type work struct {
	busy     bool
	failures int
	retryAt  time.Time
	// handOvers counts those that failed in a row, and the next is not tried
	// before handOverAt.
	handOvers  int
	handOverAt time.Time
	// lost is a replica that could not be started as its log is gone; 0 for none.
	lost uint64
	// term is the Raft term in which the group was compared with the record last,
	// at checked.
	term uint64
	// led is the last term that this node leads the shard in, since ledSince.
	led      uint64
	ledSince time.Time
	checked  time.Time
}

// NewAgent makes an agent of the node self. Replicas may run already.
func NewAgent(self string, host Host, placements Placements, directory *catalog.Directory, log *slog.Logger) *Agent {
	return &Agent{
		self: self, host: host, placements: placements, directory: directory, log: log,
		wake: make(chan struct{}, 1), transfers: make(chan struct{}, transfersMax), shards: make(map[shards.ShardID]*work),
	}
}

// Run does what there is to do until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	ticker := time.NewTicker(agentEvery)
	defer ticker.Stop()
	defer a.workers.Wait()
	for {
		changed := a.directory.Changed()
		a.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-a.wake:
		case <-ticker.C:
		}
	}
}

// look begins what seems to be due, as far as workers are free.
func (a *Agent) look(ctx context.Context) {
	if level := a.directory.Level(); level != 0 {
		a.host.SetLevel(level)
	}
	running := make(map[shards.ShardID]shards.ReplicaStatus)
	for _, r := range a.host.Replicas() {
		running[r.Shard] = r
	}
	for id, placed := range a.directory.Records().GetPlacements() {
		here := running[shards.ShardID(id)]
		act := a.outlook().next(shards.ShardID(id), placed, a.locally(here))
		if act.verb != "" || a.comparable(shards.ShardID(id), here) || a.lostOf(shards.ShardID(id)) != 0 {
			a.begin(ctx, shards.ShardID(id))
		}
	}
}

func (a *Agent) outlook() outlook {
	return outlook{self: a.self, alive: func(node string) bool {
		n := a.directory.Node(node)
		return n != nil && n.GetDeadSinceMs() == 0
	}}
}

func localOf(r shards.ReplicaStatus) local {
	return local{replica: r.Replica, leads: r.Replica != 0 && r.Leader == r.Replica}
}

// handOverAfter is for how long a node leads a shard before it hands it to the node
// that should: longer than the death of that one can go unnoticed, which ends its
// lease. A hand-over to a dead node stalls writers for nothing.
const handOverAfter = 20 * time.Second

// locally is localOf with how long it leads.
func (a *Agent) locally(r shards.ReplicaStatus) local {
	here := localOf(r)
	if !here.leads {
		return here
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.work(r.Shard)
	if w.led != r.Term {
		w.led, w.ledSince = r.Term, time.Now()
	}
	here.fresh = time.Since(w.ledSince) < handOverAfter
	return here
}

// work is what is remembered of a shard; it needs mu.
func (a *Agent) work(id shards.ShardID) *work {
	w, ok := a.shards[id]
	if !ok {
		w = &work{}
		a.shards[id] = w
	}
	return w
}

// lostOf is the replica of a shard that has lost its log here, 0 for none.
func (a *Agent) lostOf(id shards.ShardID) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.work(id).lost
}

// comparable tells whether it is time to compare a group with its record.
func (a *Agent) comparable(id shards.ShardID, here shards.ReplicaStatus) bool {
	if !localOf(here).leads {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.work(id)
	return w.term != here.Term || time.Since(w.checked) > reconcileEvery
}

// begin starts a worker for a shard, unless it has one, waits after a failure, or
// all workers are busy.
func (a *Agent) begin(ctx context.Context, id shards.ShardID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	busy := 0
	for _, w := range a.shards {
		if w.busy {
			busy++
		}
	}
	w := a.work(id)
	if w.busy || busy >= workersMax || time.Now().Before(w.retryAt) || ctx.Err() != nil {
		return
	}
	w.busy = true
	a.workers.Go(func() {
		acted, err := a.serve(ctx, id)
		a.end(id, acted, err)
	})
}

// end notes how a worker ended.
func (a *Agent) end(id shards.ShardID, acted bool, err error) {
	a.mu.Lock()
	w := a.work(id)
	w.busy = false
	switch {
	case err != nil:
		wait := min(retryMin<<min(w.failures, 10), retryMax)
		w.failures++
		w.retryAt = time.Now().Add(wait/2 + rand.N(wait)) //nolint:gosec // chance, not secrecy
	case acted:
		w.failures, w.retryAt = 0, time.Time{}
	default:
		w.failures, w.retryAt = 0, time.Now().Add(agentIdle)
	}
	failures := w.failures
	a.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, context.Canceled):
	case failures == failuresTold:
		a.log.Warn("placement is not carried out", "shard_id", uint64(id), "err", err)
	default:
		a.log.Debug("placement is not carried out", "shard_id", uint64(id), "err", err)
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// failuresTold is after how many failures in a row an operator is told, once: a
// change of leader causes one or two.
const failuresTold = 5
