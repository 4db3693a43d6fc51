package gateway

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/unread"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

func largeAnswer() *flotillav1.OperationResult {
	return &flotillav1.OperationResult{Result: &flotillav1.OperationResult_Get{Get: &flotillav1.GetResponse{
		Kv: &flotillav1.KeyValue{Value: bytes.Repeat([]byte("v"), pipelineAnswerBytesMax/2)},
	}}}
}

// A few bytes of requests may ask for gigabytes.
func TestReadsWaitForACallerThatTakesNoAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newAnswerQueue(unread.New(unread.BytesMax).Open("tenant"))
		require.NoError(t, q.admit(t.Context(), 3, 3))
		require.NoError(t, q.room(t.Context()))
		q.add(largeAnswer(), 1)
		q.add(largeAnswer(), 1)

		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, q.room(impatient), context.DeadlineExceeded)

		found := make(chan error, 1)
		go func() { found <- q.room(t.Context()) }()
		synctest.Wait()
		require.Empty(t, found, "nothing was sent yet")
		sent := make(chan error, 1)
		go func() { sent <- q.send(func(*flotillav1.PipelineResponse) error { return nil }) }()
		require.NoError(t, <-found)
		synctest.Wait()
		require.Zero(t, q.unsent.Load())
		q.close()
		require.NoError(t, <-sent)
	})
}

func TestSendEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	gone := errors.New("the caller went away")
	q := newAnswerQueue(unread.New(unread.BytesMax).Open("tenant"))
	require.NoError(t, q.admit(t.Context(), 1, 1))
	q.add(largeAnswer(), 1)
	require.ErrorIs(t, q.send(func(*flotillav1.PipelineResponse) error { return gone }), gone)
}

// The answers of writes come while a shard applies, where nothing can wait: the
// stream of a caller that does not take them ends, and the node keeps no more.
func TestAnswersThatNobodyTakesAreBounded(t *testing.T) {
	t.Parallel()
	q := newAnswerQueue(unread.New(unread.BytesMax).Open("tenant"))
	kept := 0
	for q.add(largeAnswer(), 1) {
		kept++
		require.LessOrEqual(t, int64(kept)*pipelineAnswerBytesMax/2, int64(pipelineUnsentBytesMax))
	}
	require.Positive(t, kept)
	small := &flotillav1.OperationResult{Result: &flotillav1.OperationResult_Put{Put: &flotillav1.PutResponse{}}}
	require.False(t, q.add(small, 1), "once one answer was dropped the stream is over")
}

// The answers that wait on all pipelines of a tenant are bounded together, and
// those of a pipeline that ended count no more.
func TestUnsentAnswersOfATenant(t *testing.T) {
	t.Parallel()
	all := unread.New(unread.BytesMax)
	account, other := all.Open("tenant"), all.Open("other")
	full, idle, others := newAnswerQueue(account), newAnswerQueue(account), newAnswerQueue(other)
	for account.Take(1 << 20) { // of still other pipelines
	}
	account.GiveBack(pipelineAnswerBytesMax)
	require.NoError(t, idle.room(t.Context()))
	for full.add(largeAnswer(), 0) && !account.Full() {
		require.NoError(t, idle.room(t.Context()))
	}
	before := account.Max()
	require.False(t, full.add(largeAnswer(), 0), "its caller loses the stream")
	require.Equal(t, before, account.Max(), "what was dropped does not count")
	require.NoError(t, others.room(t.Context()), "of another tenant")
	require.True(t, others.add(largeAnswer(), 0))

	full.giveUp()
	require.NoError(t, idle.room(t.Context()))
	for account.Take(1) {
	}
	var quota *tenancy.QuotaError
	require.ErrorAs(t, idle.room(t.Context()), &quota)
	require.NotZero(t, quota.RetryAfter)
	require.Equal(t, uint64(account.Max()), quota.Value)
}
