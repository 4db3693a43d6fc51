package flotilla_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// server is a scripted server: it answers each operation as the test says.
// answer returns nil to break the stream instead.
type server struct {
	flotillav1connect.UnimplementedKVServiceHandler
	answer  func(op *flotillav1.Operation) *flotillav1.OperationResult
	streams atomic.Int32
	mu      sync.Mutex
	seen    []*flotillav1.Operation
}

func (s *server) Pipeline(ctx context.Context, stream *connect.BidiStream[flotillav1.PipelineRequest, flotillav1.PipelineResponse]) error {
	s.streams.Add(1)
	if stream.RequestHeader().Get("Authorization") != "Bearer flk_test" {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("who is this"))
	}
	for {
		message, err := stream.Receive()
		if err != nil {
			return nil //nolint:nilerr // the client ended it
		}
		response := &flotillav1.PipelineResponse{}
		for _, op := range message.GetOperations() {
			s.mu.Lock()
			s.seen = append(s.seen, op)
			s.mu.Unlock()
			result := s.answer(op)
			if result == nil {
				return connect.NewError(connect.CodeUnavailable, errors.New("the stream breaks"))
			}
			result.Id = op.GetId()
			// The last first: answers come in any order.
			response.Results = append([]*flotillav1.OperationResult{result}, response.Results...)
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

func (s *server) operations() []*flotillav1.Operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*flotillav1.Operation(nil), s.seen...)
}

func start(t *testing.T, answer func(*flotillav1.Operation) *flotillav1.OperationResult, change ...func(*flotilla.Config)) (*server, *flotilla.KV) {
	t.Helper()
	s := &server{answer: answer}
	mux := http.NewServeMux()
	mux.Handle(flotillav1connect.NewKVServiceHandler(s))
	h := httptest.NewUnstartedServer(mux)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h.Config.Protocols = protocols
	h.Start()
	cfg := flotilla.Config{URL: h.URL, APIKey: "flk_test"}
	for _, c := range change {
		c(&cfg)
	}
	client, err := flotilla.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, client.Close())
		h.Close()
	})
	return s, client.Namespace("default").KV
}

func putAnswer(revision uint64) *flotillav1.OperationResult {
	return &flotillav1.OperationResult{Result: &flotillav1.OperationResult_Put{Put: &flotillav1.PutResponse{Revision: revision}}}
}

func refusal(code connect.Code, reason flotillav1.Reason, metadata map[string]string) *flotillav1.OperationResult {
	return &flotillav1.OperationResult{Result: &flotillav1.OperationResult_Error{Error: &flotillav1.Error{
		Code: uint32(code), Message: "refused", Info: &flotillav1.ErrorInfo{Reason: reason, Metadata: metadata},
	}}}
}

func TestConcurrentCallsShareOneStreamAndGetTheirOwnAnswers(t *testing.T) {
	t.Parallel()
	s, kv := start(t, func(op *flotillav1.Operation) *flotillav1.OperationResult {
		return &flotillav1.OperationResult{Result: &flotillav1.OperationResult_Get{Get: &flotillav1.GetResponse{
			Kv: &flotillav1.KeyValue{Key: op.GetGet().GetKey(), Value: op.GetGet().GetKey()},
		}}}
	})
	var wg sync.WaitGroup
	for i := range 500 {
		wg.Go(func() {
			key := fmt.Sprint("k", i)
			got, err := kv.Get(t.Context(), key, nil)
			if err != nil || string(got.Value) != key {
				t.Errorf("%s: %v, %v", key, got, err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, s.streams.Load())
}

func TestWriteIsTriedAgainWithItsRequestIDWhenTheStreamBreaks(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	s, kv := start(t, func(*flotillav1.Operation) *flotillav1.OperationResult {
		if n.Add(1) < 3 {
			return nil
		}
		return putAnswer(7)
	})
	put, err := kv.Put(t.Context(), "k", []byte("v"), nil)
	require.NoError(t, err)
	require.EqualValues(t, 7, put.Revision)
	seen := s.operations()
	require.Len(t, seen, 3)
	require.NotEmpty(t, seen[0].GetPut().GetRequestId())
	for _, op := range seen {
		require.Equal(t, seen[0].GetPut().GetRequestId(), op.GetPut().GetRequestId())
	}
	_, err = kv.Put(t.Context(), "k", []byte("v"), nil)
	require.NoError(t, err)
	require.NotEqual(t, seen[0].GetPut().GetRequestId(), s.operations()[3].GetPut().GetRequestId())
}

func TestOutcomeStaysUnknownOnceAnAttemptWas(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	_, kv := start(t, func(*flotillav1.Operation) *flotillav1.OperationResult {
		if n.Add(1) == 1 {
			return nil
		}
		return refusal(connect.CodeAborted, flotillav1.Reason_REASON_REVISION_MISMATCH, nil)
	})
	_, err := kv.Put(t.Context(), "k", nil, &flotilla.PutOptions{IfRevision: 5})
	require.ErrorIs(t, err, flotilla.ErrRevisionMismatch)
	require.True(t, flotilla.OutcomeUnknown(err), "the first attempt may have been applied")
}

func TestWhatWasRefusedForGoodIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	s, kv := start(t, func(*flotillav1.Operation) *flotillav1.OperationResult {
		return refusal(connect.CodeOutOfRange, flotillav1.Reason_REASON_REVISION_COMPACTED, map[string]string{"compact_revision": "12"})
	})
	_, err := kv.Get(t.Context(), "k", &flotilla.GetOptions{Revision: 3})
	var compacted *flotilla.CompactedError
	require.ErrorAs(t, err, &compacted)
	require.EqualValues(t, 12, compacted.CompactRevision)
	require.False(t, flotilla.OutcomeUnknown(err))
	require.Len(t, s.operations(), 1)
}

func TestWhatWasNotAppliedIsTriedAgain(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	_, kv := start(t, func(*flotillav1.Operation) *flotillav1.OperationResult {
		switch n.Add(1) {
		case 1:
			return refusal(connect.CodeUnavailable, flotillav1.Reason_REASON_NOT_LEADER, nil)
		case 2:
			return refusal(connect.CodeResourceExhausted, flotillav1.Reason_REASON_SHARD_BUSY, nil)
		default:
			return putAnswer(2)
		}
	})
	_, err := kv.Put(t.Context(), "k", nil, nil)
	require.NoError(t, err)
}

func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	s, kv := start(t, func(*flotillav1.Operation) *flotillav1.OperationResult {
		return refusal(connect.CodeUnavailable, flotillav1.Reason_REASON_NOT_LEADER, nil)
	}, func(c *flotilla.Config) { c.AttemptsMax = 3 })
	_, err := kv.Put(t.Context(), "k", nil, nil)
	require.Error(t, err)
	require.False(t, flotilla.OutcomeUnknown(err))
	require.Len(t, s.operations(), 3)
}

func TestGivingUpTellsWhetherTheWriteMayHaveHappened(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	hold := make(chan struct{})
	_, kv := start(t, func(*flotillav1.Operation) *flotillav1.OperationResult {
		close(arrived)
		<-hold
		return putAnswer(2)
	})
	t.Cleanup(func() { close(hold) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := kv.Put(ctx, "k", nil, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, flotilla.OutcomeUnknown(err))
}

func TestWrongKeyIsToldAtOnce(t *testing.T) {
	t.Parallel()
	s, kv := start(t, nil, func(c *flotilla.Config) { c.APIKey = "flk_other" })
	begin := time.Now()
	_, err := kv.Get(t.Context(), "k", nil)
	var e *flotilla.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, connect.CodeUnauthenticated, e.Code)
	_, err = kv.Put(t.Context(), "k", nil, nil)
	require.ErrorAs(t, err, &e)
	require.False(t, flotilla.OutcomeUnknown(err), "a stream that was refused carried nothing")
	require.EqualValues(t, 2, s.streams.Load(), "one for each call")
	require.Less(t, time.Since(begin), 5*time.Second)
}

func TestServerThatIsAwayIsAnErrorInTime(t *testing.T) {
	t.Parallel()
	client, err := flotilla.New(flotilla.Config{URL: "http://127.0.0.1:1", APIKey: "flk_test", Timeout: 200 * time.Millisecond})
	require.NoError(t, err)
	_, err = client.Namespace("default").KV.Put(t.Context(), "k", nil, nil)
	require.Error(t, err)
	require.False(t, flotilla.OutcomeUnknown(err), "there was no connection to send it on")
	require.NoError(t, client.Close())
	_, err = client.Namespace("default").KV.Put(t.Context(), "k", nil, nil)
	require.ErrorIs(t, err, flotilla.ErrClosed)
}

func TestRangeGoesOnAtTheRevisionOfItsFirstPart(t *testing.T) {
	t.Parallel()
	s, kv := start(t, func(op *flotillav1.Operation) *flotillav1.OperationResult {
		start := string(op.GetRange().GetKeys().GetStart())
		page := &flotillav1.RangeResponse{ReadRevision: 9, Revision: 11}
		switch start {
		case "":
			page.Kvs = []*flotillav1.KeyValue{{Key: []byte("a")}, {Key: []byte("b")}}
			page.More, page.NextKey = true, []byte("b\x00")
		case "b\x00":
			page.Kvs = []*flotillav1.KeyValue{{Key: []byte("c")}}
		}
		return &flotillav1.OperationResult{Result: &flotillav1.OperationResult_Range{Range: page}}
	})
	var keys []string
	for found, err := range kv.Range(t.Context(), flotilla.AllKeys(), nil) {
		require.NoError(t, err)
		keys = append(keys, found.Key)
	}
	require.Equal(t, []string{"a", "b", "c"}, keys)
	require.EqualValues(t, 9, s.operations()[1].GetRange().GetRevision())
	for _, err := range kv.Range(t.Context(), flotilla.AllKeys(), nil) {
		require.NoError(t, err)
		break
	}
	require.Len(t, s.operations(), 3, "a loop that is broken off asks for no more")
}

func TestRangeInAnotherOrderIsNotCutShortInSilence(t *testing.T) {
	t.Parallel()
	_, kv := start(t, func(*flotillav1.Operation) *flotillav1.OperationResult {
		page := &flotillav1.RangeResponse{Kvs: []*flotillav1.KeyValue{{Key: []byte("a")}, {Key: []byte("b")}}, More: true}
		return &flotillav1.OperationResult{Result: &flotillav1.OperationResult_Range{Range: page}}
	})
	read := func(limit uint64) (keys int, last error) {
		opts := &flotilla.RangeOptions{OrderBy: flotilla.ByModRevision, Limit: limit}
		for _, err := range kv.Range(t.Context(), flotilla.AllKeys(), opts) {
			if last = err; err == nil {
				keys++
			}
		}
		return keys, last
	}
	keys, err := read(0)
	require.Equal(t, 2, keys)
	require.ErrorIs(t, err, flotilla.ErrTooLarge, "there are more, and no way to continue")
	keys, err = read(2)
	require.Equal(t, 2, keys)
	require.NoError(t, err, "as many as were asked for")
}

func TestConfigNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := flotilla.New(flotilla.Config{URL: "127.0.0.1:7700", Timeout: -1})
	require.ErrorContains(t, err, "URL")
	require.ErrorContains(t, err, "APIKey")
	require.ErrorContains(t, err, "Timeout")
}

func TestOperationThatNoMessageHoldsIsRefusedBeforeItHurtsOthers(t *testing.T) {
	t.Parallel()
	s, kv := start(t, func(*flotillav1.Operation) *flotillav1.OperationResult { return putAnswer(2) })
	_, err := kv.Put(t.Context(), "k", make([]byte, 5<<20), nil)
	require.ErrorIs(t, err, flotilla.ErrTooLarge)
	require.False(t, flotilla.OutcomeUnknown(err))
	require.Empty(t, s.operations())
}

func TestFailedReadsAndRefusedConnectionsLeaveNoDoubt(t *testing.T) {
	t.Parallel()
	_, kv := start(t, func(*flotillav1.Operation) *flotillav1.OperationResult { return nil },
		func(c *flotilla.Config) { c.AttemptsMax = 2 })
	_, err := kv.Get(t.Context(), "k", nil)
	require.Error(t, err)
	require.False(t, flotilla.OutcomeUnknown(err), "a read did nothing")
	_, err = kv.Put(t.Context(), "k", nil, nil)
	require.True(t, flotilla.OutcomeUnknown(err), "a write may have")

	client, err := flotilla.New(flotilla.Config{URL: "http://127.0.0.1:1", APIKey: "flk_test", AttemptsMax: 2})
	require.NoError(t, err)
	defer client.Close()
	_, err = client.Namespace("default").KV.Put(t.Context(), "k", nil, nil)
	require.Error(t, err)
	require.False(t, flotilla.OutcomeUnknown(err), "nobody was reached")
}
