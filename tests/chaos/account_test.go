package chaos

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/flotillakv/flotilla/tests/process"
)

// accountInterval is how often the nodes are asked how far they are.
const accountInterval = 100 * time.Millisecond

// account is what the nodes say of a shard while a test waits for it to be served.
type account struct {
	began time.Time
	ended chan struct{}
	done  sync.WaitGroup
	// lines are what changed, each with the time since it began. They are for the
	// goroutine that asks, and for those who waited for it.
	lines []string
}

// startAccount asks all nodes again and again, until stop.
func startAccount(c *process.Cluster, shard uint64) *account {
	a := &account{began: time.Now(), ended: make(chan struct{})}
	a.done.Go(func() { a.run(c, shard) })
	return a
}

func (a *account) run(c *process.Cluster, shard uint64) {
	ticker := time.NewTicker(accountInterval)
	defer ticker.Stop()
	said := make([]string, len(c.Nodes))
	for i := range said {
		said[i] = "not asked"
	}
	for {
		for i := range c.Nodes {
			says := c.Progress(i, shard).String()
			if says == said[i] {
				continue
			}
			said[i] = says
			a.lines = append(a.lines, fmt.Sprintf("%8s n%d: %s", time.Since(a.began).Round(time.Millisecond), i+1, says))
		}
		select {
		case <-a.ended:
			return
		case <-ticker.C:
		}
	}
}

// stop ends the account and returns it.
func (a *account) stop() string {
	close(a.ended)
	a.done.Wait()
	return strings.Join(a.lines, "\n")
}
