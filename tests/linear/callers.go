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

	"connectrpc.com/connect"
	"github.com/anishathalye/porcupine"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// workload is callers that make random calls and write down what they see.
type workload struct {
	kv   []*flotilla.KV // the callers share these
	seed uint64
	// callers is how many call at the same time.
	callers int
	// calls is how many they make together.
	calls int64
	// patience is how long a call in a hurry waits at most; 0 if none is in a
	// hurry. Otherwise every fourth caller sometimes is.
	patience time.Duration

	start  time.Time // of the history
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
	for id := range w.callers {
		c := &caller{
			workload: w, id: id, kv: w.kv[id%len(w.kv)],
			random: rand.New(rand.NewPCG(w.seed, uint64(id))),
		}
		calling.Go(func() { c.run(ctx) })
	}
	calling.Wait()
	reader := &caller{workload: w, id: w.callers, kv: w.kv[0]}
	for group := range groups {
		if err := reader.make(ctx, input{kind: list, group: group}); err != nil {
			w.fail(err)
		}
	}
	return w.history, w.err
}

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
	kv     *flotilla.KV
	random *rand.Rand
	// seen is the last version of each key that this caller was told of.
	seen [groups][keysPerGroup]version
}

func (c *caller) run(ctx context.Context) {
	for c.made.Add(1) <= c.calls {
		if err := c.makeAny(ctx); err != nil {
			c.fail(err)
			return
		}
	}
}

// makeAny makes a random call.
func (c *caller) makeAny(ctx context.Context) error {
	if c.patience > 0 && c.id%4 == 0 && c.random.IntN(2) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.random.Int64N(int64(c.patience))))
		defer cancel()
	}
	return c.make(ctx, c.choose())
}

// make makes a call and records it. It returns errors that no outage explains.
func (c *caller) make(ctx context.Context, in input) error {
	op := porcupine.Operation{ClientId: c.id, Input: in, Call: c.now()}
	out, err := c.ask(ctx, in)
	op.Return = c.now()
	switch {
	case err == nil:
		c.learn(in, out)
	case in.kind.write() && flotilla.OutcomeUnknown(err):
		c.giveUp(fmt.Errorf("%s: %w", describe(in, out), err))
		out, op.Return = output{unknown: true}, never
	case outage(err):
		c.giveUp(fmt.Errorf("%s: %w", describe(in, out), err))
		return nil
	default:
		return fmt.Errorf("%s: %w", describe(in, out), err)
	}
	op.Output = out
	c.record(op)
	return nil
}

// outage is whether a node that stops, or a caller in a hurry, explains an
// error.
func outage(err error) bool {
	var answered *flotilla.Error
	if !errors.As(err, &answered) {
		return false
	}
	switch answered.Code {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeUnknown:
		return true
	default:
		return false
	}
}

// choose draws a call.
func (c *caller) choose() input {
	kinds := []kind{get, get, get, list, count, put, put, putBoth, remove, replace, replace, swap, swap}
	in := input{kind: kinds[c.random.IntN(len(kinds))], group: c.random.IntN(groups)}
	key := c.random.IntN(keysPerGroup)
	switch in.kind {
	case list, count:
	case putBoth:
		in.key, in.other = key, (key+1)%keysPerGroup
	case replace, swap:
		in.key, in.expected = key, c.seen[in.group][key].revision
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
	seen := &c.seen[in.group]
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

// versionOf is a key as the model knows it.
func versionOf(kv *flotilla.KeyValue) (version, error) {
	if kv == nil {
		return version{}, nil
	}
	value, err := strconv.Atoi(string(kv.Value))
	return version{value: value, count: kv.Version, revision: kv.ModRevision}, err
}
