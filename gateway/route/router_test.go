package route_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	"github.com/flotillakv/flotilla/shards/watch"
)

// fleet is nodes n1, n2, ... as the router of n1 sees them: all of them, this one
// included, have replicas of every shard unless a test says otherwise.
type fleet struct {
	mu sync.Mutex
	// asked are the attempts, as "put n2".
	asked []string
	hosts []string
	// leader is who leads, and named who the others say does; they say nothing
	// while it is empty.
	leader, named string
	// believed is who this node's replica believes in.
	believed string
	// here tells whether this node has a replica.
	here bool
	// fail is what a node answers instead.
	fail map[string]func() error
	// applied counts what took effect, by request id.
	applied map[string]int
	// behind tells whether this node's replica does not become current, and slow
	// how long it takes.
	behind bool
	slow   time.Duration
}

func newFleet() *fleet {
	return &fleet{
		hosts: []string{"n1", "n2", "n3"}, leader: "n2", named: "n2", believed: "n2", here: true,
		fail: map[string]func() error{}, applied: map[string]int{},
	}
}

func (f *fleet) router() *route.Router {
	return route.NewRouter(route.RouterConfig{NodeID: "n1", Local: localNode{f}, Remote: otherNodes{f}, Directory: f})
}

func (f *fleet) Hosts(shards.ShardID) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.hosts)
}

func (f *fleet) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fleet) attempts() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// submit is an attempt at a node.
func (f *fleet) submit(node string, call *shards.Call) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, "put "+node)
	call.Take()
	result := machine.Result{Response: &flotillav1.PutResponse{Revision: 9}}
	fail := f.fail[node]
	switch {
	case fail != nil:
		result.Err = fail()
	case node != f.leader:
		result = machine.Result{Err: &shards.NotLeaderError{Shard: 2, Leader: 1, Node: f.named}}
	}
	if result.Err == nil || errors.Is(result.Err, shards.ErrOutcomeUnknown) {
		var c internalv1.Command
		if err := proto.Unmarshal(call.Command, &c); err != nil {
			return err
		}
		if id := c.GetPut().GetRequestId(); id == "" || f.applied[id] == 0 {
			f.applied[id]++
		}
	}
	go call.Done(result)
	return nil
}

func (f *fleet) query(ctx context.Context, node string, b *shards.QueryBatch) error {
	f.mu.Lock()
	f.asked = append(f.asked, "get "+node)
	fail, behind, slow := f.fail[node], f.behind && node == "n1" && b.Consistency == shards.Linearizable, f.slow
	f.mu.Unlock()
	if node == "n1" {
		time.Sleep(slow) //nolint:forbidigo // the bubble's time
	}
	if behind {
		<-ctx.Done()
		return fmt.Errorf("wait to be current: %w", context.Cause(ctx))
	}
	if fail != nil {
		return fail()
	}
	if b.Begin != nil {
		end, err := b.Begin(ctx)
		if err != nil {
			return err
		}
		defer end()
	}
	for i := range b.Queries {
		if !b.Answered(i) {
			b.Answer(i, &flotillav1.GetResponse{Revision: 9}, nil)
		}
	}
	return nil
}

// localNode is the fleet's n1.
type localNode struct{ *fleet }

func (l localNode) Submit(_ shards.ShardID, call *shards.Call) error {
	l.mu.Lock()
	leads, named := l.leader == "n1", l.named
	l.mu.Unlock()
	if !leads {
		l.set(func() { l.asked = append(l.asked, "put n1") })
		return &shards.NotLeaderError{Shard: 2, Node: named}
	}
	return l.submit("n1", call)
}

func (l localNode) QueryBatch(ctx context.Context, _ shards.ShardID, b *shards.QueryBatch) error {
	return l.query(ctx, "n1", b)
}

func (l localNode) Watches(shards.ShardID) (*watch.Hub, error) {
	return nil, fmt.Errorf("shard 2: %w", shards.ErrShardNotFound)
}

func (l localNode) Current(context.Context, shards.ShardID) error { return nil }

func (l localNode) HasReplica(shards.ShardID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.here
}

func (l localNode) Leader(shards.ShardID) (node string, term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.here {
		return "", 0
	}
	return l.believed, 1
}

func (l localNode) Leads(shards.ShardID) bool { return false }

// otherNodes are the rest of the fleet.
type otherNodes struct{ *fleet }

func (o otherNodes) Submit(node string, _ shards.ShardID, call *shards.Call) error {
	return o.submit(node, call)
}

func (o otherNodes) QueryBatch(ctx context.Context, node string, _ shards.ShardID, b *shards.QueryBatch) error {
	return o.query(ctx, node, b)
}

func (o otherNodes) OpenWatches(context.Context, string, watch.Owner, time.Duration) (shards.WatchSource, error) {
	return nil, errors.New("not used")
}

func putOf(requestID string) *internalv1.Command {
	return &internalv1.Command{Operation: &internalv1.Command_Put{
		Put: &flotillav1.PutRequest{Key: []byte("a"), RequestId: requestID},
	}}
}

func unreachable() error { return &shards.UnreachableError{Node: "x", Cause: errors.New("refused")} }

func TestCommandsFindTheLeader(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(f *fleet)
		want    []string
	}{
		"where the replica here says it is": {func(*fleet) {}, []string{"put n2"}},
		"which is here":                     {func(f *fleet) { f.leader, f.believed = "n1", "n1" }, []string{"put n1"}},
		"where those say who are asked in error": {
			func(f *fleet) { f.leader, f.named = "n3", "n3" }, []string{"put n2", "put n3"},
		},
		"without a replica here, by asking in turn": {
			func(f *fleet) { f.here, f.hosts, f.leader, f.named = false, []string{"n4", "n5", "n6"}, "n6", "" },
			[]string{"put n4", "put n5", "put n6"},
		},
		"without a replica here, by a hint": {
			func(f *fleet) { f.here, f.hosts, f.leader, f.named = false, []string{"n4", "n5", "n6"}, "n6", "n6" },
			[]string{"put n4", "put n6"},
		},
		"when the one that is believed in is gone": {
			func(f *fleet) { f.fail["n2"], f.leader = unreachable, "n3" }, []string{"put n2", "put n3"},
		},
		"when its replica was moved away": {
			func(f *fleet) {
				f.fail["n2"] = func() error { return fmt.Errorf("shard 2: %w", shards.ErrShardNotFound) }
				f.leader = "n3"
			}, []string{"put n2", "put n3"},
		},
		"when it stops": {
			func(f *fleet) { f.fail["n2"], f.leader = func() error { return shards.ErrStopping }, "n3" }, []string{"put n2", "put n3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				c.prepare(f)
				r := f.router()
				start := time.Now()
				_, err := r.Propose(t.Context(), 2, "t", putOf(""))
				require.NoError(t, err)
				require.Equal(t, c.want, f.attempts())
				require.Zero(t, time.Since(start), "a hint is followed at once")
				_, err = r.Propose(t.Context(), 2, "t", putOf(""))
				require.NoError(t, err)
				require.Equal(t, append(slices.Clone(c.want), c.want[len(c.want)-1]), f.attempts(), "it remembers")
			})
		})
	}
}

func TestHintsAreOvertaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		r := f.router()
		for _, leader := range []string{"n3", "n1", "n2", "n3", "n2"} {
			f.set(func() { f.leader, f.named = leader, leader }) // the replica here still believes in n2
			_, err := r.Propose(t.Context(), 2, "t", putOf(""))
			require.NoError(t, err)
		}
		require.LessOrEqual(t, len(f.attempts()), 10)
	})
}

// The first node of a cluster has to write the directory before there is one to look
// into: a replica that was refused once is asked again when there is no other.
func TestTheOnlyReplicaIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.hosts, f.leader, f.named, f.believed = nil, "n1", "", "n1"
		f.fail["n1"] = func() error {
			delete(f.fail, "n1")
			return &shards.NotLeaderError{Shard: 2} // it does not lead in earnest yet
		}
		_, err := f.router().Propose(t.Context(), 2, "t", putOf(""))
		require.NoError(t, err)
		require.Equal(t, []string{"put n1", "put n1"}, f.attempts())
	})
}

// Attempts end with the caller's time, whatever their number.
func TestShardWithoutALeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.leader, f.named = "", ""
		r := f.router()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := r.Propose(ctx, 2, "t", putOf("r"))
		var noLeader *shards.NotLeaderError
		require.ErrorAs(t, err, &noLeader, "it surely was not applied, and the caller is told so")
		require.LessOrEqual(t, time.Since(start), 3*time.Second)
		require.Greater(t, time.Since(start), 2*time.Second)
		require.Less(t, len(f.attempts()), 200)
		require.Greater(t, len(f.attempts()), 20)

		go func() {
			time.Sleep(500 * time.Millisecond) //nolint:forbidigo // the bubble's time
			f.set(func() { f.leader = "n3" })
		}()
		start = time.Now()
		_, err = r.Propose(t.Context(), 2, "t", putOf(""))
		require.NoError(t, err)
		require.Less(t, time.Since(start), time.Second, "it notices the new one soon")
	})
}

func TestRetryLaw(t *testing.T) {
	t.Parallel()
	unknown := fmt.Errorf("%w: the stream broke", shards.ErrOutcomeUnknown)
	for name, c := range map[string]struct {
		command *internalv1.Command
		fail    error
		again   bool
	}{
		"unknown outcome":                 {putOf(""), unknown, false},
		"unknown outcome with request id": {putOf("r"), unknown, true},
		"unknown outcome of a renewal": {&internalv1.Command{Operation: &internalv1.Command_KeepAlive{
			KeepAlive: &flotillav1.KeepAliveRequest{Ids: []int64{1}},
		}}, unknown, true},
		"unknown outcome of a grant": {&internalv1.Command{Operation: &internalv1.Command_GrantLease{
			GrantLease: &internalv1.GrantLease{Request: &flotillav1.GrantLeaseRequest{}},
		}}, unknown, false},
		"unknown outcome of a grant with request id": {&internalv1.Command{Operation: &internalv1.Command_GrantLease{
			GrantLease: &internalv1.GrantLease{Request: &flotillav1.GrantLeaseRequest{RequestId: "r"}},
		}}, unknown, true},
		"not the leader":      {putOf(""), &shards.NotLeaderError{}, true},
		"unreachable":         {putOf(""), unreachable(), true},
		"busy":                {putOf("r"), &shards.BusyError{}, false},
		"full disk":           {putOf("r"), shards.ErrDiskFull, false},
		"a refusal":           {putOf("r"), mvcc.ErrKeyExists, false},
		"a level":             {putOf("r"), &shards.LevelError{Needs: machine.Level + 1, Has: 1}, false},
		"a fault of the node": {putOf("r"), errors.New("broken"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				failed := false
				f.fail["n2"] = func() error {
					if failed {
						f.fail["n2"] = nil
						f.named = "n2"
						return &shards.NotLeaderError{}
					}
					failed = true
					return c.fail
				}
				f.leader = "n3"
				_, err := f.router().Propose(t.Context(), 2, "t", c.command)
				if !c.again {
					require.ErrorIs(t, err, c.fail)
					require.Len(t, f.attempts(), 1)
					return
				}
				require.NoError(t, err)
				require.Greater(t, len(f.attempts()), 1)
				if c.command.GetPut() != nil {
					require.Equal(t, 1, f.applied[c.command.GetPut().GetRequestId()])
				}
			})
		})
	}
}

// An outcome that is unknown stays so, whatever later attempts say.
func TestUnknownOutcomeIsNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		first := true
		f.fail["n2"] = func() error {
			if first {
				first = false
				return shards.ErrOutcomeUnknown
			}
			return unreachable()
		}
		f.leader, f.named = "", ""
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := f.router().Propose(ctx, 2, "t", putOf("r"))
		require.ErrorIs(t, err, shards.ErrOutcomeUnknown)
		require.Greater(t, len(f.attempts()), 3)
	})
}

// What waits for a shard without a leader holds up no other.
func TestShardsDoNotHoldUpEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.leader, f.named = "", ""
		r := f.router()
		var stuck sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range 1000 {
			stuck.Go(func() {
				_, err := r.Propose(ctx, 2, "t", putOf(""))
				require.Error(t, err)
			})
		}
		synctest.Wait()
		start := time.Now()
		require.NoError(t, getOne(t.Context(), r, shards.Linearizable))
		f.set(func() { f.leader = "n2" })
		_, err := r.Propose(t.Context(), 3, "t", putOf(""))
		require.NoError(t, err)
		require.Zero(t, time.Since(start))
		f.set(func() { f.leader = "" })
		cancel()
		stuck.Wait()
	})
}

// A node that is alone tries again too, but has nobody else to ask.
func TestNodeThatIsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.leader = "n1"
		tries := 0
		f.fail["n1"] = func() error {
			if tries++; tries < 5 {
				return &shards.NotLeaderError{}
			}
			return nil
		}
		r := route.NewRouter(route.RouterConfig{NodeID: "n1", Local: localNode{f}})
		_, err := r.Propose(t.Context(), 2, "t", putOf(""))
		require.NoError(t, err)
		require.Equal(t, 5, tries)
		f.set(func() { f.fail["n1"] = func() error { return shards.ErrStopping } })
		start := time.Now()
		_, err = r.Propose(t.Context(), 2, "t", putOf(""))
		require.ErrorIs(t, err, shards.ErrStopping)
		require.Zero(t, time.Since(start))
	})
}
