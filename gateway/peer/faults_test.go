package peer_test

import (
	"context"
	"errors"
	"io"
	"net"
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
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/watch"
)

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
	defer func() { _ = conn.Close() }()
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

// A connection whose time is over just when it fails, or is made, is one that failed.
func TestConnectionThatComesTooLate(t *testing.T) {
	t.Parallel()
	server := newPair(t)
	server.host.answer = func(*internalv1.Command) machine.Result { return machine.Result{Response: &flotillav1.PutResponse{}} }
	encoded, err := proto.Marshal(command("a"))
	require.NoError(t, err)
	var unreachable *shards.UnreachableError
	for i := range 300 {
		pool := peer.NewPool(t.Context(), peer.PoolConfig{
			Address:        func(string) string { return server.address },
			ConnectTimeout: time.Duration(1 + i*i*10), // from a nanosecond to a millisecond
		})
		results := make(chan machine.Result, 1)
		call := &shards.Call{Tenant: "t", Command: encoded, Done: func(r machine.Result) { results <- r }}
		if err := pool.Submit(there, shard, call); err != nil {
			require.ErrorAs(t, err, &unreachable)
		} else if err := result(t, results).Err; err != nil {
			require.ErrorAs(t, err, &unreachable)
		}
		source, err := pool.OpenWatches(t.Context(), there, watch.Owner{Tenant: "t"}, time.Minute)
		if err == nil {
			source.Close()
		} else {
			require.ErrorAs(t, err, &unreachable)
		}
		pool.Close()
	}
}
