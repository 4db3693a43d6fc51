package linear

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tests/process"
)

// TestFaultsTakeEffect: what nodes are told to do wrong they do. Otherwise the other
// tests would pass because nothing happened.
func TestFaultsTakeEffect(t *testing.T) {
	t.Parallel()
	c := process.StartCluster(t, process.ClusterConfig{Nodes: 2, Flags: []string{"--data-shards", "1"}, Faults: true})
	kv := c.Client(t, 0).Namespace(c.Info.Namespace).KV
	putTakes := func() (time.Duration, error) {
		began := time.Now()
		_, err := kv.Put(t.Context(), "a", nil, nil)
		return time.Since(began), err
	}
	_, err := putTakes()
	require.NoError(t, err)
	const late = 700 * time.Millisecond
	for node := range c.Nodes {
		c.SetFaults(t, node, process.Faults{SyncDelayMS: late.Milliseconds()})
	}
	require.Eventually(t, func() bool {
		took, err := putTakes()
		return err == nil && took >= late
	}, time.Minute, time.Millisecond, "the disks are not slow")

	const step = -3600
	c.SetFaults(t, 0, process.Faults{})
	c.SetFaults(t, 1, process.Faults{ClockStepSeconds: step})
	require.Eventually(t, func() bool {
		status := c.Status(0)
		if status == nil {
			return false
		}
		for _, n := range status.Nodes {
			if n.Name == "n2" && n.ClockSkewSeconds != nil && math.Abs(*n.ClockSkewSeconds-step) < 10 {
				return true
			}
		}
		return false
	}, time.Minute, 50*time.Millisecond, "the clock is not set")
}
