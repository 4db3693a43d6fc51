package process

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// faultsVariable names the file of a node's faults in its environment.
const faultsVariable = "FLOTILLA_FAULTS"

// Faults are what a node does wrong; see shards/fault. The zero value is nothing.
type Faults struct {
	// SyncDelayMS is how late each sync of its disk is.
	SyncDelayMS int64 `json:"sync_delay_ms"`
	// ClockStepSeconds is by how much its wall clock was set.
	ClockStepSeconds int64 `json:"clock_step_seconds"`
	// StaleReads has it serve linearizable reads without asking the leader.
	StaleReads bool `json:"stale_reads"`
}

func (c *Cluster) faultsFile(node int) string {
	return filepath.Join(c.dir, nodeName(node)+"-faults.json")
}

// SetFaults has a node, from 0, do wrong what is said from now on, whether it runs
// or is started later. It knows of it a moment later.
func (c *Cluster) SetFaults(t *testing.T, node int, f Faults) {
	t.Helper()
	require.True(t, c.cfg.Faults, "the nodes were built without faults")
	data, err := json.Marshal(f)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(c.faultsFile(node)+".new", data, 0o600))
	require.NoError(t, os.Rename(c.faultsFile(node)+".new", c.faultsFile(node)))
}
