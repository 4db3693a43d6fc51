package route_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/route"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// answering is a pipeline of a node with others, whose calls the test answers.
type answering struct {
	*route.Pipeline
	t *testing.T

	mu       sync.Mutex
	nodes    []string       // where each call went
	values   []string       // what it wrote
	calls    []*shards.Call // not yet answered
	answered map[uint64]error
	// came, if set, is called with what each call writes.
	came func(value string)
}

type callCatcher struct {
	otherNodes
	a *answering
}

func (c callCatcher) Submit(node string, _ shards.ShardID, call *shards.Call) error {
	var command internalv1.Command
	if err := proto.Unmarshal(call.Command, &command); err != nil {
		return err
	}
	value := string(command.GetPut().GetValue())
	if c.a.came != nil {
		defer c.a.came(value)
	}
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	call.Take()
	c.a.nodes = append(c.a.nodes, node)
	c.a.values = append(c.a.values, value)
	c.a.calls = append(c.a.calls, call)
	return nil
}

func newAnswering(t *testing.T, f *fleet) *answering {
	t.Helper()
	a := &answering{t: t, answered: map[uint64]error{}}
	router := route.NewRouter(route.RouterConfig{NodeID: "n1", Local: localNode{f}, Remote: callCatcher{otherNodes{f}, a}, Directory: f})
	a.Pipeline = route.NewKV(router, fakeCatalog{}).NewPipeline(10*time.Second, func(op *flotillav1.Operation, _ proto.Message, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if _, twice := a.answered[op.GetId()]; twice {
			panic(fmt.Sprintf("operation %d was answered twice", op.GetId()))
		}
		a.answered[op.GetId()] = err
	}, func(context.Context) error { return nil })
	return a
}

// valued is a put whose value is its id.
func valued(id uint64, key string) *flotillav1.Operation {
	op := put(id, key)
	op.GetPut().Value = []byte(fmt.Sprint(id))
	return op
}

// answer answers the call at a place among those that are not answered.
func (a *answering) answer(place int, err error) {
	a.mu.Lock()
	call := a.calls[place]
	a.calls = append(a.calls[:place:place], a.calls[place+1:]...)
	a.mu.Unlock()
	call.Done(machine.Result{Response: &flotillav1.PutResponse{}, Err: err})
	synctest.Wait()
}

func (a *answering) wrote() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.values...)
}

// state is how many calls wait for an answer, and how many operations have theirs.
func (a *answering) state() (calls, answered int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.calls), len(a.answered)
}

// written is what the call at a place writes.
func (a *answering) written(place int) string {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	var c internalv1.Command
	require.NoError(a.t, proto.Unmarshal(a.calls[place].Command, &c))
	return string(c.GetPut().GetValue())
}

func moved() error { return &shards.NotLeaderError{Shard: 2, Node: "n3"} }

// pauseOver is longer than any pause between attempts.
const pauseOver = time.Second

func TestRefusedWritesAreTriedAgainInTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		a := newAnswering(t, f)
		ctx := asTenant(t.Context(), tenancy.FullAccess())
		a.Start(ctx, []*flotillav1.Operation{valued(1, "a"), valued(2, "a"), valued(3, "b")})
		synctest.Wait()
		require.Equal(t, []string{"1", "2", "3"}, a.wrote())
		a.answer(1, moved()) // 2 is refused first
		a.Start(ctx, []*flotillav1.Operation{valued(4, "a"), get(5, "a")})
		time.Sleep(pauseOver) //nolint:forbidigo // the bubble's time
		require.Len(t, a.wrote(), 3, "2 waits for 1, and what is later of its key for 2")
		a.answer(0, moved())
		time.Sleep(pauseOver) //nolint:forbidigo // the bubble's time
		require.Equal(t, []string{"1", "2", "3", "1", "2"}, a.wrote(), "both again, in their order")
		require.Equal(t, []string{"n2", "n2", "n2", "n3", "n3"}, a.nodes, "where they were led")
		a.answer(0, nil) // 3
		a.answer(0, nil) // 1
		require.Len(t, a.wrote(), 5)
		a.answer(0, nil) // 2
		require.Equal(t, "4", a.wrote()[5])
		a.answer(0, nil)
		a.Wait()
		require.Len(t, a.answered, 5)
		for id, err := range a.answered {
			require.NoError(t, err, id)
		}
		require.Equal(t, []string{"get n1"}, f.attempts())
	})
}

// A write that a later one of its key has overtaken is not tried again.
func TestOvertakenWriteIsRefused(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]error{"applied": nil, "refused by the state": mvcc.ErrKeyExists, "unknown": shards.ErrOutcomeUnknown} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAnswering(t, newFleet())
				a.Start(asTenant(t.Context(), tenancy.FullAccess()), []*flotillav1.Operation{valued(1, "a"), valued(2, "a"), valued(3, "a")})
				synctest.Wait()
				a.answer(2, moved())
				a.answer(0, moved())
				a.answer(0, later)    // 2
				time.Sleep(pauseOver) //nolint:forbidigo // the bubble's time
				require.Equal(t, []string{"1", "2", "3", "3"}, a.wrote(), "3 may, 1 may not")
				a.answer(0, nil)
				a.Wait()
				var noLeader *shards.NotLeaderError
				require.ErrorAs(t, a.answered[1], &noLeader)
				require.ErrorIs(t, a.answered[2], later)
				require.NoError(t, a.answered[3])
			})
		})
	}
}

// Writes of one key to two nodes do not run beside each other.
func TestWritesOfAKeyDoNotRaceOverNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		a := newAnswering(t, f)
		ctx := asTenant(t.Context(), tenancy.FullAccess())
		a.Start(ctx, []*flotillav1.Operation{valued(1, "a")})
		synctest.Wait()
		f.set(func() { f.believed = "n3" })
		a.Start(ctx, []*flotillav1.Operation{valued(2, "a"), valued(3, "b")})
		synctest.Wait()
		require.Equal(t, []string{"1", "3"}, a.wrote())
		a.answer(0, nil)
		require.Equal(t, []string{"1", "3", "2"}, a.wrote())
		require.Equal(t, []string{"n2", "n3", "n3"}, a.nodes)
		a.answer(0, nil)
		a.answer(0, nil)
		a.Wait()
	})
}

// A write that comes while those are submitted that waited does not overtake them.
func TestWriteDoesNotOvertakeThoseThatWaited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.hosts = []string{"n2"}
		a := newAnswering(t, f)
		ctx := asTenant(t.Context(), tenancy.FullAccess())
		a.came = func(value string) {
			if value == "2" { // 3 is yet to be submitted
				a.Start(ctx, []*flotillav1.Operation{valued(4, "a")})
			}
		}
		a.Start(ctx, []*flotillav1.Operation{valued(1, "a")})
		synctest.Wait()
		a.answer(0, &shards.NotLeaderError{})
		a.Start(ctx, []*flotillav1.Operation{valued(2, "a"), valued(3, "a")})
		time.Sleep(pauseOver) //nolint:forbidigo // the bubble's time
		require.Equal(t, []string{"1", "1"}, a.wrote())
		a.answer(0, nil)
		require.Equal(t, []string{"1", "1", "2", "3"}, a.wrote())
		a.answer(0, nil)
		a.answer(0, nil)
		require.Equal(t, "4", a.wrote()[4])
		a.answer(0, nil)
		a.Wait()
	})
}

// Attempts end with the operation's time, and with the pipeline.
func TestWriteIsNotTriedForever(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.leader, f.named = "", ""
		router := f.router()
		answered := map[uint64]error{}
		p := route.NewKV(router, fakeCatalog{}).NewPipeline(time.Second, func(op *flotillav1.Operation, _ proto.Message, err error) {
			answered[op.GetId()] = err
		}, func(context.Context) error { return nil })
		ctx, cancel := context.WithCancel(asTenant(t.Context(), tenancy.FullAccess()))
		start := time.Now()
		p.Start(ctx, []*flotillav1.Operation{put(1, "a")})
		p.Wait()
		require.LessOrEqual(t, time.Since(start), 1500*time.Millisecond)
		var noLeader *shards.NotLeaderError
		require.ErrorAs(t, answered[1], &noLeader)
		p.Start(ctx, []*flotillav1.Operation{put(2, "a")})
		cancel()
		start = time.Now()
		p.Wait()
		require.LessOrEqual(t, time.Since(start), 500*time.Millisecond)
	})
}

// Whatever is refused when, the writes of a key that took effect did so in their
// order, and each operation is answered once.
func TestOrderPerKeyOverRandomRefusals(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			f := newFleet()
			a := newAnswering(t, f)
			ctx := asTenant(t.Context(), tenancy.FullAccess())
			const operations = 40
			var applied []string
			next := uint64(1)
			for {
				calls, answered := a.state()
				if answered == operations {
					break
				}
				switch {
				case next <= operations && random.IntN(2) == 0:
					a.Start(ctx, []*flotillav1.Operation{valued(next, "a")})
					next++
				case calls == 0:
					time.Sleep(pauseOver) //nolint:forbidigo // the bubble's time
				default:
					f.set(func() { f.believed = fmt.Sprint("n", 2+random.IntN(2)) })
					place := random.IntN(calls)
					err := error(nil)
					if random.IntN(3) == 0 {
						err = []error{moved(), unreachable(), mvcc.ErrKeyExists, shards.ErrOutcomeUnknown}[random.IntN(4)]
					}
					// A node applies what it gets in the order in which it got it.
					if err == nil {
						place = 0
						applied = append(applied, a.written(0))
					}
					a.answer(place, err)
				}
				synctest.Wait()
			}
			a.Wait()
			last := 0
			for _, value := range applied {
				var id int
				_, err := fmt.Sscan(value, &id)
				require.NoError(t, err)
				require.Greater(t, id, last, "seed %d: %v", seed, applied)
				last = id
			}
			for id, err := range a.answered {
				if err == nil {
					require.Contains(t, applied, fmt.Sprint(id))
				}
			}
		})
	}
}

// A route that a shard refuses as old is found anew.
func TestOldRouteIsFoundAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		old := true
		f.fail["n2"] = func() error {
			if old {
				return &machine.WrongEpochError{Epoch: 2}
			}
			return nil
		}
		forgotten := &forgetting{forget: func() { old = false }}
		kv := route.NewKV(f.router(), forgotten)
		_, err := route.Do[*flotillav1.PutResponse](asTenant(t.Context(), tenancy.FullAccess()), kv, &flotillav1.PutRequest{Key: []byte("a")})
		require.NoError(t, err)
		require.Equal(t, 1, forgotten.times)
		require.Len(t, f.attempts(), 2)
		old, forgotten.forget = true, func() {}
		ctx, cancel := context.WithTimeout(asTenant(t.Context(), tenancy.FullAccess()), time.Second)
		defer cancel()
		_, err = route.Do[*flotillav1.PutResponse](ctx, kv, &flotillav1.PutRequest{Key: []byte("a")})
		var wrong *machine.WrongEpochError
		require.ErrorAs(t, err, &wrong)
	})
}

// forgetting is a catalog that notes what it has to forget.
type forgetting struct {
	fakeCatalog
	times  int
	forget func()
}

func (c *forgetting) Forget(tenancy.TenantID, string) {
	c.times++
	c.forget()
}
