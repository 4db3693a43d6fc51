package node

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/fault"
)

const (
	skewInterval = 5 * time.Second
	// skewMax is how far the wall clocks of two nodes may be apart. Leases and
	// locks do not depend on them, but creation times and compaction by age do,
	// and whoever reads the logs.
	skewMax = 500 * time.Millisecond
)

// skews are how far the clocks of other nodes are ahead of this one's.
type skews struct {
	mu     sync.Mutex
	byNode map[string]time.Duration
	warned map[string]bool
}

// watchClocks compares the clocks of the nodes every now and then, and warns of
// those that are too far apart, once each time that it begins.
func (n *Node) watchClocks(ctx context.Context) error {
	largest := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "flotilla_node_clock_skew_seconds", Help: "How far the clock of another node is from this one's, of all the farthest.",
	})
	n.metrics.MustRegister(largest)
	ticker := time.NewTicker(skewInterval)
	defer ticker.Stop()
	for {
		var most time.Duration
		for _, address := range n.others() {
			if ctx.Err() == nil {
				most = max(most, n.compareClocks(ctx, address).Abs())
			}
		}
		largest.Set(most.Seconds())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// compareClocks asks a node how late it is. The answer was given at some moment
// of the round trip, so half of that is the error.
func (n *Node) compareClocks(ctx context.Context, address string) time.Duration {
	sent := fault.Now()
	there, err := n.hello(ctx, address)
	if err != nil || there.GetBootId() == n.bootID || there.GetClusterId() != n.dir.Identity().ClusterID {
		return 0
	}
	trip := time.Since(sent)
	skew := time.UnixMicro(int64(there.GetTimeUs())).Sub(sent.Round(0).Add(trip / 2))
	if skew.Abs() < trip/2 {
		skew = 0
	}
	if n.skews.note(there.GetNodeId(), skew, n.directory.Nodes()) {
		n.cfg.Log.Warn("the clocks of two nodes are far apart: check that both are set by NTP",
			"node", n.directory.Node(there.GetNodeId()).GetName(), "ahead", skew, "allowed", skewMax)
	}
	return skew
}

// note keeps a node's skew, and tells whether to warn. It forgets nodes that are
// not known any more.
func (s *skews) note(id string, skew time.Duration, known map[string]*internalv1.NodeRecord) (warn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byNode == nil {
		s.byNode, s.warned = make(map[string]time.Duration), make(map[string]bool)
	}
	for other := range s.byNode {
		if known[other] == nil {
			delete(s.byNode, other)
			delete(s.warned, other)
		}
	}
	s.byNode[id] = skew
	far := skew.Abs() > skewMax
	warn = far && !s.warned[id]
	s.warned[id] = far
	return warn
}

func (s *skews) of(id string) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	skew, ok := s.byNode[id]
	return skew, ok
}
