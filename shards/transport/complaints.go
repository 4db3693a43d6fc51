package transport

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// complaintPause is how long the same complaint is not told again.
	complaintPause = 30 * time.Second
	// complaintsMax bounds what is remembered. A cluster has fewer nodes.
	complaintsMax = 1024
)

// complaints tell which nodes are not reached, and why, without repeating
// themselves: the library tries again and again.
type complaints struct {
	log *slog.Logger

	mu   sync.Mutex
	told map[complaint]time.Time // Invariant: at most complaintsMax
}

type complaint struct {
	node   string
	reason reason
}

// tell logs why a node is not reached, unless it did lately.
func (c *complaints) tell(err *ConnectError, now time.Time) {
	if c.due(complaint{err.NodeID, err.reason}, now) {
		c.log.Warn("node cannot be reached", "node_id", err.NodeID, "address", err.Address, "err", err.Err, "advice", err.reason.advice())
	}
}

func (c *complaints) due(about complaint, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.told[about]; ok && now.Sub(last) < complaintPause {
		return false
	}
	if len(c.told) >= complaintsMax {
		clear(c.told)
	}
	c.told[about] = now
	return true
}

// reached ends the complaints about a node, and says so if there were any.
func (c *complaints) reached(node, address string) {
	if c.forget(node) {
		c.log.Info("node is reached again", "node_id", node, "address", address)
	}
}

func (c *complaints) forget(node string) (had bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for about := range c.told {
		if about.node == node {
			delete(c.told, about)
			had = true
		}
	}
	return had
}
