package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// port is a way to the keys: how calls are spelt there, and what errors mean.
type port interface {
	// ask makes a call. What a condition refuses is an answer and no error.
	ask(ctx context.Context, in input) (output, error)
	// unknown is whether a write that failed may have happened, now or later.
	unknown(err error) bool
	// outage is whether a node that stops or cannot be reached, or a caller in a
	// hurry, explains an error.
	outage(err error) bool
}

// workload is callers that make random calls and write down what they see.
type workload struct {
	ports []port // the callers share these
	seed  uint64
	// callers is how many call at the same time, of which the last so many readers
	// write nothing.
	callers, readers int
	// calls is how many they make together, unless they are stopped before.
	calls int64
	// rest is how long a caller waits between two calls at most.
	rest time.Duration
	// patience is how long a call in a hurry waits at most; 0 if none is in a
	// hurry. Otherwise every fourth caller sometimes is.
	patience time.Duration
	// timeout bounds every call; 0 leaves it to the port.
	timeout time.Duration

	start   time.Time // of the history
	stopped atomic.Bool
	// epoch counts through sets of groups. What is unknown of an old set does not
	// make the checker slow in the next.
	epoch  atomic.Int64
	made   atomic.Int64
	values atomic.Int64 // the last that was written

	mu      sync.Mutex
	history []porcupine.Operation
	failed  []string // calls that an outage ended
	err     error    // of calls that no outage explains
}

// run makes the calls, then lists every group, and returns the history.
func (w *workload) run(ctx context.Context) ([]porcupine.Operation, error) {
	var calling sync.WaitGroup
	first := int(w.epoch.Load())
	for id := range w.callers {
		c := &caller{
			workload: w, id: id, port: w.ports[id%len(w.ports)],
			random: rand.New(rand.NewPCG(w.seed, uint64(id))),
		}
		calling.Go(func() { c.run(ctx) })
	}
	calling.Wait()
	reader := &caller{workload: w, id: w.callers, port: w.ports[0]}
	for group := first * groups; group < groups*int(w.epoch.Load()+1); group++ {
		if err := reader.make(ctx, input{kind: list, group: group}); err != nil {
			w.fail(err)
		}
	}
	return w.history, w.err
}

// stop has the callers make no more calls.
func (w *workload) stop() { w.stopped.Store(true) }

// now is the time of the history, in nanoseconds.
func (w *workload) now() int64 { return time.Since(w.start).Nanoseconds() }

func (w *workload) record(op porcupine.Operation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history = append(w.history, op)
}

func (w *workload) giveUp(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, err.Error())
}

func (w *workload) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, err)
}

// caller makes one call after the other.
type caller struct {
	*workload
	id     int
	port   port
	random *rand.Rand
	// seen is the last version of each key that this caller was told of, in the
	// groups of an epoch.
	seen  [groups][keysPerGroup]version
	since int64 // the epoch
}

func (c *caller) run(ctx context.Context) {
	for c.made.Add(1) <= c.calls && !c.stopped.Load() {
		if err := c.makeAny(ctx); err != nil {
			c.fail(err)
			return
		}
		if c.rest > 0 {
			<-time.After(time.Duration(c.random.Int64N(int64(c.rest))))
		}
	}
}

// makeAny makes a random call.
func (c *caller) makeAny(ctx context.Context) error {
	timeout := c.timeout
	if c.patience > 0 && c.id%4 == 0 && c.random.IntN(2) == 0 {
		timeout = time.Duration(c.random.Int64N(int64(c.patience)))
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return c.make(ctx, c.choose())
}

// make makes a call and records it. It returns errors that no outage explains.
func (c *caller) make(ctx context.Context, in input) error {
	op := porcupine.Operation{ClientId: c.id, Input: in, Call: c.now()}
	out, err := c.port.ask(ctx, in)
	op.Return = c.now()
	switch {
	case err == nil:
		c.learn(in, out)
	case in.kind.write() && c.port.unknown(err):
		c.giveUp(fmt.Errorf("%s: %w", describe(in, out), err))
		out, op.Return = output{unknown: true}, never
	case c.port.outage(err):
		c.giveUp(fmt.Errorf("%s: %w", describe(in, out), err))
		return nil
	default:
		return fmt.Errorf("%s: %w", describe(in, out), err)
	}
	op.Output = out
	c.record(op)
	return nil
}

// choose draws a call.
func (c *caller) choose() input {
	kinds := []kind{get, get, get, list, count, put, put, putBoth, remove, replace, replace, swap, swap}
	if c.id >= c.callers-c.readers {
		kinds = kinds[:5]
	}
	if epoch := c.epoch.Load(); epoch != c.since {
		c.seen, c.since = [groups][keysPerGroup]version{}, epoch
	}
	in := input{kind: kinds[c.random.IntN(len(kinds))], group: int(c.since)*groups + c.random.IntN(groups)}
	key := c.random.IntN(keysPerGroup)
	switch in.kind {
	case list, count:
	case putBoth:
		in.key, in.other = key, (key+1)%keysPerGroup
	case replace, swap:
		in.key, in.expected = key, c.seen[in.group%groups][key].revision
		if in.expected == 0 {
			in.kind = get // nothing to expect yet
		}
	default:
		in.key = key
	}
	if in.kind.write() {
		in.value = int(c.values.Add(1))
	}
	return in
}

// learn remembers what can be expected of a key later.
func (c *caller) learn(in input, out output) {
	seen := &c.seen[in.group%groups]
	switch in.kind {
	case get, list:
		for key, found := range out.found {
			if found.revision != 0 {
				seen[key] = found
			}
		}
	case put, putBoth:
		seen[in.key].revision = out.revision
	case swap, replace:
		if out.done {
			seen[in.key].revision = out.revision
		} else if found := out.found[in.key]; found.revision != 0 {
			seen[in.key] = found
		}
	default:
	}
}

func groupPrefix(group int) string { return "group" + strconv.Itoa(group) + "/" }

func keyName(group, key int) string { return groupPrefix(group) + strconv.Itoa(key) }
