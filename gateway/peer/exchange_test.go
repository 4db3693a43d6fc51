package peer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
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
		pool.Queue = fair.Config{TenantItemsMax: 10, ItemsMax: 15}
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
	_, refused = p.put("u", "more")
	require.ErrorAs(t, result(t, refused).Err, &busy)
	require.Equal(t, "node", busy.Queue)
	for range 15 { // they all go when they may
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
	p := newPair(t, func(pool *peer.PoolConfig, _ *peer.ServerConfig) { pool.InFlightMax = 2 })
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
	_, waits := p.put("t", "waits") // the query and the command are what may be in flight
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
		return result(t, r).Err == nil
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
			require.ErrorAs(t, refused.Err, &unreachable)
			return true
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

// A node that stands still, with its connections open, is noticed.
func TestSilentNodeIsNoticed(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	server := grpc.NewServer()
	frozen := &frozenNode{}
	internalv1.RegisterPeerServiceServer(server, frozen)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	pool := peer.NewPool(t.Context(), peer.PoolConfig{
		Address: func(string) string { return listener.Addr().String() }, SilenceMax: 1500 * time.Millisecond,
	})
	defer pool.Close()
	encoded, err := proto.Marshal(command("a"))
	require.NoError(t, err)
	results := make(chan machine.Result, 1)
	require.NoError(t, pool.Submit(there, shard, &shards.Call{Tenant: "t", Command: encoded, Done: func(r machine.Result) { results <- r }}))
	require.ErrorIs(t, result(t, results).Err, shards.ErrOutcomeUnknown)
	require.Positive(t, frozen.pings.Load(), "it was asked for a sign of life")
	var unreachable *shards.UnreachableError
	require.ErrorAs(t, pool.QueryBatch(t.Context(), there, shard, &shards.QueryBatch{Queries: []shards.Query{getQuery("a")}}), &unreachable)
}

// frozenNode takes streams and says nothing.
type frozenNode struct {
	internalv1.UnimplementedPeerServiceServer
	pings atomic.Int64
}

func (f *frozenNode) Exchange(stream grpc.BidiStreamingServer[internalv1.ExchangeRequest, internalv1.ExchangeResponse]) error {
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		if len(message.GetOperations()) == 0 {
			f.pings.Add(1)
		}
	}
}

// What another node sends wrongly ends that operation, or that stream, alone.
func TestGarbage(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.host.answer = func(*internalv1.Command) machine.Result { return machine.Result{Response: &flotillav1.PutResponse{}} }
	p.host.setQuery(echo(nil))
	conn, err := grpc.NewClient("passthrough:///"+p.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	stream, err := internalv1.NewPeerServiceClient(conn).Exchange(t.Context())
	require.NoError(t, err)
	good, err := proto.Marshal(command("a"))
	require.NoError(t, err)
	halts, err := proto.Marshal(&internalv1.Command{Operation: &internalv1.Command_ExpireLeases{ExpireLeases: &internalv1.ExpireLeases{}}})
	require.NoError(t, err)
	many := &internalv1.PeerQueries{Queries: make([]*internalv1.PeerQuery, 5000)}
	for i := range many.GetQueries() {
		many.Queries[i] = &internalv1.PeerQuery{Request: &internalv1.PeerQuery_Get{Get: &flotillav1.GetRequest{Key: []byte("k")}}}
	}
	operations := []*internalv1.PeerOperation{
		{Id: 1, ShardId: 2, Command: []byte("\xff\xff\xff")},
		{Id: 2, ShardId: 2},
		{Id: 3, ShardId: 2, Command: halts},
		{Id: 4, ShardId: 2, Command: protowire.AppendTag(nil, 99, protowire.VarintType)},
		{Id: 5, ShardId: 2, Queries: &internalv1.PeerQueries{}},
		{Id: 6, ShardId: 2, Queries: many},
		{Id: 7, ShardId: 2, TimeoutMs: 1 << 62, Queries: &internalv1.PeerQueries{Queries: []*internalv1.PeerQuery{{}}}},
		{Id: 8, ShardId: 2, TimeoutMs: 1 << 62, Command: good},
		{Id: 8, ShardId: 2, TimeoutMs: 1 << 62, Command: good}, // twice
	}
	require.NoError(t, stream.Send(&internalv1.ExchangeRequest{Operations: operations}))
	answers := map[uint64][]*internalv1.PeerAnswer{}
	for n := 0; n < len(operations); {
		message, err := stream.Recv()
		require.NoError(t, err)
		for _, a := range message.GetAnswers() {
			answers[a.GetId()] = append(answers[a.GetId()], a)
			n++
		}
	}
	for id := range uint64(4) {
		require.Equal(t, internalv1.PeerErrorKind_PEER_ERROR_KIND_INVALID, answers[id+1][0].GetError().GetKind(), id+1)
	}
	require.Equal(t, internalv1.PeerErrorKind_PEER_ERROR_KIND_INVALID, answers[5][0].GetFailed().GetKind())
	require.Equal(t, internalv1.PeerErrorKind_PEER_ERROR_KIND_INVALID, answers[6][0].GetFailed().GetKind())
	require.Equal(t, internalv1.PeerErrorKind_PEER_ERROR_KIND_INVALID, answers[7][0].GetError().GetKind())
	require.Len(t, answers[8], 2)
	require.NotNil(t, answers[8][0].GetPut())
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)

	// Bytes that are no message end their stream, and no other.
	raw, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		internalv1.PeerService_Exchange_FullMethodName, grpc.ForceCodec(rawCodec{}))
	require.NoError(t, err)
	require.NoError(t, raw.SendMsg([]byte("\xff\xff\xff\xff")))
	require.Error(t, raw.RecvMsg(new([]byte)))
	got, err := p.get(t.Context(), "still")
	require.NoError(t, err)
	require.Equal(t, "still=", got)
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errors.New("no bytes")
	}
	return b, nil
}

func (rawCodec) Unmarshal(data []byte, v any) error {
	into, ok := v.(*[]byte)
	if !ok {
		return errors.New("no bytes")
	}
	*into = data
	return nil
}

// A panic while reading is the fault of that operation.
func TestPanicOfAReadIsAnError(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.host.setQuery(func(context.Context, *shards.QueryBatch) error { panic("a bug") })
	_, err := p.get(t.Context(), "a")
	require.ErrorContains(t, err, "panic: a bug")
	p.host.setQuery(echo([]byte("v")))
	got, err := p.get(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "a=v", got)
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

// A caller that goes away gets its queries back, and no answers any more.
func TestQueriesEndWithTheirCaller(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	begun, release := make(chan struct{}), make(chan struct{})
	answer := echo(nil)
	p.host.setQuery(func(ctx context.Context, b *shards.QueryBatch) error {
		close(begun)
		<-release
		p.host.setQuery(answer)
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
