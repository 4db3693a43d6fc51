package peer_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/peer"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/fair"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// E2: one tenant's commands arrive in the order of their submission.
func TestCommandsOfATenantKeepTheirOrder(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	const n = 5000
	var want []string
	for i := range n {
		p.put("t", fmt.Sprint(i))
		want = append(want, fmt.Sprint("t/", i))
	}
	p.host.wait(t, n)
	require.Equal(t, want, p.host.seen())
}

// A tenant that has much on its way does not hold up another one.
func TestTenantsHaveFairSharesOfTheStream(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(pool *peer.PoolConfig, _ *peer.ServerConfig) { pool.InFlightMax = 100 })
	p.host.mu.Lock() // nothing arrives yet
	const n = 5000
	for i := range n {
		p.put("busy", fmt.Sprint(i))
	}
	p.put("quiet", "one")
	p.host.mu.Unlock()
	for range n + 1 {
		p.host.wait(t, 1)
		p.host.done(machine.Result{Response: &flotillav1.PutResponse{}})
	}
	require.Less(t, slices.Index(p.host.seen(), "quiet/one"), n/2)
}

func TestWhatWaitsForANodeIsBounded(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(pool *peer.PoolConfig, _ *peer.ServerConfig) {
		pool.InFlightMax = 1
		pool.Queue = fair.Config{TenantItemsMax: 10, ItemsMax: 100, CostMax: 1 << 20}
	})
	p.put("t", "sent")
	p.host.wait(t, 1)
	var busy *shards.BusyError
	for i := range 10 {
		_, r := p.put("t", fmt.Sprint(i))
		require.Empty(t, r, "it waits")
	}
	_, refused := p.put("t", "more")
	require.ErrorAs(t, result(t, refused).Err, &busy)
	require.Equal(t, "tenant", busy.Queue)
	for i := range 5 {
		_, r := p.put("u", fmt.Sprint(i))
		require.Empty(t, r, "another tenant's line is its own")
	}
	_, refused = p.put("v", strings.Repeat("k", 1<<19))
	require.ErrorAs(t, result(t, refused).Err, &busy)
	require.Equal(t, "node", busy.Queue)
	_, r := p.put(tenancy.SystemTenant, strings.Repeat("k", 1<<20))
	require.Empty(t, r, "tenants do not shut the platform out")
	for range 16 { // they all go when they may
		p.host.done(machine.Result{Response: &flotillav1.PutResponse{}})
		p.host.wait(t, 1)
	}
}

func TestCanceledAndLateCommandsAreNotSent(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(pool *peer.PoolConfig, _ *peer.ServerConfig) { pool.InFlightMax = 1 })
	p.put("t", "sent")
	p.host.wait(t, 1)
	canceled, never := p.put("t", "canceled")
	require.True(t, canceled.Cancel())
	encoded, err := proto.Marshal(command("late"))
	require.NoError(t, err)
	late := make(chan machine.Result, 1)
	require.NoError(t, p.pool.Submit(there, shard, &shards.Call{
		Tenant: "t", Command: encoded, Deadline: time.Now(), Done: func(r machine.Result) { late <- r },
	}))
	last, _ := p.put("t", "last")
	p.host.done(machine.Result{Response: &flotillav1.PutResponse{}})
	p.host.wait(t, 1)
	require.Equal(t, []string{"t/sent", "t/last"}, p.host.seen())
	require.ErrorIs(t, result(t, late).Err, context.DeadlineExceeded)
	require.Empty(t, never)
	require.False(t, last.Cancel(), "it is on its way")
}

// E1: what was sent has an unknown outcome when the stream ends, and what was not
// surely was not applied.
func TestOutcomeOfWhatTheEndOfTheStreamLeaves(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(pool *peer.PoolConfig, _ *peer.ServerConfig) { pool.InFlightMax = 8 })
	asked, release := make(chan struct{}), make(chan struct{})
	p.host.setQuery(func(ctx context.Context, _ *shards.QueryBatch) error {
		close(asked)
		<-release
		return ctx.Err()
	})
	defer close(release)
	read := make(chan error, 1)
	go func() {
		_, err := p.get(t.Context(), "a")
		read <- err
	}()
	<-asked
	_, sent := p.put("t", "sent")
	p.host.wait(t, 1)
	_, waits := p.put("t", "waits") // the query and the command are what a tenant may have in flight
	p.stop()
	err := result(t, sent).Err
	require.ErrorIs(t, err, shards.ErrOutcomeUnknown)
	var unreachable *shards.UnreachableError
	r := result(t, waits).Err
	require.ErrorAs(t, r, &unreachable)
	require.NotErrorIs(t, r, shards.ErrOutcomeUnknown)
	err = <-read
	require.ErrorAs(t, err, &unreachable, "a query is asked elsewhere")
	require.NotErrorIs(t, err, shards.ErrOutcomeUnknown)
	require.Equal(t, []string{"t/sent"}, p.host.seen())
}

// A node that comes back, even elsewhere, is asked again.
func TestNodeThatComesBackIsAskedAgain(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.host.answer = func(*internalv1.Command) machine.Result { return machine.Result{Response: &flotillav1.PutResponse{}} }
	_, first := p.put("t", "a")
	require.NoError(t, result(t, first).Err)
	p.stop()
	_, down := p.put("t", "b")
	var unreachable *shards.UnreachableError
	require.ErrorAs(t, result(t, down).Err, &unreachable)
	p.serve(peer.ServerConfig{Local: p.host})
	require.Eventually(t, func() bool {
		_, r := p.put("t", "c")
		select {
		case answered := <-r:
			return answered.Err == nil
		case <-t.Context().Done():
			return false
		}
	}, waitMax, time.Millisecond)
}

// A stop answers what was begun; what comes meanwhile surely was not applied.
func TestStopAnswersWhatWasBegun(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(_ *peer.PoolConfig, server *peer.ServerConfig) { server.DrainMax = waitMax })
	_, begun := p.put("t", "a")
	p.host.wait(t, 1)
	stopped := make(chan struct{})
	go func() {
		p.stop()
		close(stopped)
	}()
	var unreachable *shards.UnreachableError
	n := 1
	require.Eventually(t, func() bool { // those that slip in before the node tells so are answered too
		_, r := p.put("t", "b")
		select {
		case refused := <-r:
			return errors.As(refused.Err, &unreachable)
		case <-p.host.came:
			n++
			return false
		}
	}, waitMax, time.Millisecond)
	for range n {
		p.host.done(machine.Result{Response: &flotillav1.PutResponse{}})
	}
	<-stopped
	require.NoError(t, result(t, begun).Err)
}

// What a node answers to queries of a batch is given out once each, over as many
// operations as the size of the answers needs.
func TestLargeAnswersComeInParts(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	asked := 0
	value := make([]byte, 300<<10)
	answer := echo(value)
	p.host.setQuery(func(ctx context.Context, b *shards.QueryBatch) error {
		asked++
		return answer(ctx, b)
	})
	const n = 20
	var mu sync.Mutex
	answered := map[string]int{}
	rooms, begun := 0, 0
	batch := &shards.QueryBatch{
		Tenant: "t",
		Begin: func(context.Context) (func(), error) {
			begun++
			return func() { begun-- }, nil
		},
		Room: func(context.Context, int) error {
			rooms++
			if rooms == 3 {
				return mvcc.ErrKeyExists
			}
			return nil
		},
		Emit: func(_ int, response proto.Message, err error) {
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, mvcc.ErrKeyExists) {
				answered["no room"]++
				return
			}
			get, _ := response.(*flotillav1.GetResponse)
			answered[string(get.GetKv().GetKey())]++
		},
	}
	for i := range n {
		batch.Queries = append(batch.Queries, getQuery(fmt.Sprintf("k%02d", i)))
	}
	require.NoError(t, p.pool.QueryBatch(t.Context(), there, shard, batch))
	require.Len(t, answered, n)
	require.Equal(t, 1, answered["no room"])
	for key, times := range answered {
		require.Equal(t, 1, times, key)
	}
	require.Equal(t, 5, asked, "four answers make a part")
	require.Zero(t, begun)
}

// Look-ups of several callers that come while others are read share a state.
func TestQueriesGather(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	groups, release := make(chan int, 100), make(chan struct{})
	answer := echo([]byte("v"))
	p.host.setQuery(func(ctx context.Context, b *shards.QueryBatch) error {
		groups <- len(b.Queries)
		<-release
		return answer(ctx, b)
	})
	var callers sync.WaitGroup
	ask := func(key string) {
		callers.Go(func() {
			got, err := p.get(t.Context(), key)
			if err != nil || got != key+"=v" {
				t.Errorf("get %s: %q, %v", key, got, err)
			}
		})
	}
	ask("a")
	require.Equal(t, 1, <-groups)
	ask("b")
	require.Equal(t, 1, <-groups)
	for i := range 50 {
		ask(fmt.Sprint(i))
	}
	total := 0
	for range 2 {
		release <- struct{}{}
	}
	sizes := 0
	for total < 50 {
		n := <-groups
		total += n
		sizes++
		release <- struct{}{}
	}
	callers.Wait()
	require.Less(t, sizes, 50)
}

// T1: what may take long of one tenant waits for no other's.
func TestLongReadsOfATenantHoldUpNoOther(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	begun, release := make(chan tenancy.TenantID, 100), make(chan struct{})
	p.host.setQuery(func(ctx context.Context, b *shards.QueryBatch) error {
		end, err := b.Begin(ctx)
		if err != nil {
			return err
		}
		defer end()
		begun <- b.Tenant
		if b.Tenant == "loud" {
			<-release
		}
		b.Answer(0, &flotillav1.RangeResponse{}, nil)
		return nil
	})
	ask := func(tenant tenancy.TenantID) (answered error) {
		err := p.pool.QueryBatch(t.Context(), there, shard, &shards.QueryBatch{
			Tenant: tenant, Queries: []shards.Query{{Namespace: 10, Request: &flotillav1.RangeRequest{}}},
			Emit: func(_ int, _ proto.Message, err error) { answered = err },
		})
		return cmp.Or(err, answered)
	}
	var loud sync.WaitGroup
	for range 50 {
		loud.Go(func() {
			if err := ask("loud"); err != nil {
				t.Error(err)
			}
		})
	}
	for range 8 { // as many as are read at once
		require.Equal(t, tenancy.TenantID("loud"), <-begun)
	}
	require.NoError(t, ask("quiet"))
	require.Equal(t, tenancy.TenantID("quiet"), <-begun, "the others of the loud one wait")
	close(release)
	loud.Wait()
}

// A caller that goes away gets its queries back, and no answers any more.
func TestQueriesEndWithTheirCaller(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	begun, release := make(chan struct{}), make(chan struct{})
	answer := echo(nil)
	p.host.setQuery(func(ctx context.Context, b *shards.QueryBatch) error {
		p.host.setQuery(answer) // of those that come after
		close(begun)
		<-release
		return answer(ctx, b)
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var over atomic.Bool
	go func() {
		ended <- p.pool.QueryBatch(ctx, there, shard, &shards.QueryBatch{
			Queries: []shards.Query{getQuery("a")},
			Emit: func(int, proto.Message, error) {
				if over.Load() {
					t.Error("answered after the end")
				}
			},
		})
	}()
	<-begun
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	over.Store(true)
	close(release)
	_, err := p.get(t.Context(), "b") // the answer has come by then
	require.NoError(t, err)
}

// A shard that does not become current is not waited for.
func TestReplicaThatIsNotCurrentSaysSo(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.host.setQuery(func(ctx context.Context, _ *shards.QueryBatch) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	_, err := p.get(t.Context(), "a")
	var noLeader *shards.NotLeaderError
	require.ErrorAs(t, err, &noLeader)
	require.Equal(t, shard, noLeader.Shard)
}

func TestUnknownNodeIsUnreachable(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	var unreachable *shards.UnreachableError
	require.ErrorAs(t, p.pool.Submit("nobody", shard, &shards.Call{}), &unreachable)
	require.ErrorAs(t, p.pool.QueryBatch(t.Context(), "nobody", shard, &shards.QueryBatch{}), &unreachable)
	p.pool.Close()
	require.ErrorIs(t, p.pool.Submit(there, shard, &shards.Call{}), shards.ErrStopping)
}

// An answer that no message could hold is refused, and the stream goes on.
func TestAnswerThatIsTooLarge(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.host.setQuery(echo(make([]byte, 50<<20)))
	_, err := p.get(t.Context(), "a")
	var large *mvcc.TooLargeError
	require.ErrorAs(t, err, &large)
	p.host.setQuery(echo([]byte("v")))
	got, err := p.get(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "a=v", got)
}

// Calls that come from many goroutines, while the node comes and goes, are each
// answered once.
func TestEachCallIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.host.answer = func(*internalv1.Command) machine.Result { return machine.Result{Response: &flotillav1.PutResponse{}} }
	var callers sync.WaitGroup
	ended := make(chan struct{})
	for i := range 8 {
		callers.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				_, r := p.put(tenancy.TenantID(fmt.Sprint("t", i)), "k")
				result(t, r)
				require.Empty(t, r)
			}
		})
	}
	for range 5 {
		p.host.wait(t, 50)
		p.stop()
		p.serve(peer.ServerConfig{Local: p.host, DrainMax: time.Millisecond})
	}
	close(ended)
	callers.Wait()
}
