package placement

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/plan"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
)

const (
	// loopEvery is how often the loop looks by itself: time passes without a
	// change of records.
	loopEvery = time.Second
	// loopPause is what lies between two looks at least.
	loopPause = 50 * time.Millisecond
	// loopTimeout bounds one look with what follows from it.
	loopTimeout = 10 * time.Second
)

// Leaders tells who leads a shard; it is shards.Host.
type Leaders interface {
	Leader(shard shards.ShardID) (node string, term uint64)
}

// Records are the records of nodes and shards; they are the catalog.
type Records interface {
	Records(ctx context.Context) (*catalog.Records, error)
	Commit(ctx context.Context, change *catalog.Change) error
}

// Loop is the part of placement that decides. It works on the node that leads the
// system shard, and rests on all others. Two may work at a time for a moment; their
// steps are compare-and-set, so that one of two that disagree is not taken.
type Loop struct {
	self      string
	leaders   Leaders
	records   Records
	directory *catalog.Directory
	policy    plan.Policy
	metrics   *metrics
	now       func() time.Time
	log       *slog.Logger
}

// NewLoop makes the loop of the node self. now is the clock of what is written
// down, and of how long nodes have been alive or dead.
func NewLoop(
	self string, leaders Leaders, records Records, directory *catalog.Directory, policy plan.Policy,
	reg prometheus.Registerer, now func() time.Time, log *slog.Logger,
) *Loop {
	return &Loop{
		self: self, leaders: leaders, records: records, directory: directory, policy: policy.WithDefaults(),
		metrics: newMetrics(reg), now: now, log: log,
	}
}

// Run works while this node leads the system shard, until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	ticker := time.NewTicker(loopEvery)
	defer ticker.Stop()
	var seen *sightings // nil while another node leads
	for {
		changed := l.directory.Changed()
		leader, term := l.leaders.Leader(shards.SystemShard)
		switch {
		case leader != l.self:
			if seen != nil {
				l.log.Info("placement loop rests", "leader", leader)
				l.metrics.leads.Set(0)
				l.metrics.underReplicated.Set(0)
			}
			seen = nil
		case seen == nil || seen.term != term:
			l.log.Info("placement loop works", "term", term)
			l.metrics.leads.Set(1)
			seen = &sightings{term: term}
			l.turn(ctx, seen)
		default:
			l.turn(ctx, seen)
		}
		pause(ctx, loopPause)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-ticker.C:
		}
	}
}

// turn observes, plans and acts once.
func (l *Loop) turn(ctx context.Context, seen *sightings) {
	ctx, cancel := context.WithTimeout(ctx, loopTimeout)
	defer cancel()
	records, err := l.records.Records(ctx)
	if err != nil {
		l.log.Debug("placement cannot look", "err", err)
		return
	}
	view := seen.view(records, l.now())
	l.metrics.lastLoop.Set(float64(l.now().UnixMilli()) / 1000)
	l.metrics.underReplicated.Set(float64(plan.UnderReplicated(view)))
	for _, step := range plan.Plan(view, l.policy) {
		err := l.take(ctx, records, step)
		switch {
		case errors.Is(err, catalog.ErrConflict):
			return // somebody was faster: look again
		case err != nil:
			l.log.Warn("placement step failed", "step", string(step.Kind), "shard_id", step.Shard, "err", err)
			return
		}
		l.metrics.steps[step.Kind].Inc()
		l.log.Info("placement step", "step", string(step.Kind), "shard_id", step.Shard, "replica_id", step.Replica,
			"node", step.Node, "why", step.String())
	}
}

// take writes a step down.
func (l *Loop) take(ctx context.Context, records *catalog.Records, step plan.Step) error {
	change := records.Change()
	switch step.Kind {
	case plan.KindDead, plan.KindAlive:
		node := proto.CloneOf(records.Directory.GetNodes()[step.Node])
		node.DeadSinceMs = 0
		if step.Kind == plan.KindDead {
			node.DeadSinceMs = uint64(l.now().UnixMilli())
		}
		change.PutNode(step.Node, node)
	case plan.KindLevel:
		cluster := proto.CloneOf(records.Directory.GetCluster())
		cluster.Level = step.Level
		change.PutCluster(cluster)
	case plan.KindAdd, plan.KindPromote, plan.KindRemove, plan.KindLead:
		id := shards.ShardID(step.Shard)
		change.PutPlacement(id, step.Placement(records.Directory.GetPlacements()[step.Shard]))
	}
	return l.records.Commit(ctx, change)
}

// replicationOf is how many voters a shard of the cluster should have.
func replicationOf(c *internalv1.ClusterRecord) int { return max(1, int(c.GetReplication())) }
