package gateway

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

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
		q := newAnswerQueue(new(atomic.Int64))
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
	q := newAnswerQueue(new(atomic.Int64))
	require.NoError(t, q.admit(t.Context(), 1, 1))
	q.add(largeAnswer(), 1)
	require.ErrorIs(t, q.send(func(*flotillav1.PipelineResponse) error { return gone }), gone)
}

// The answers of writes come while a shard applies, where nothing can wait: the
// stream of a caller that does not take them ends, and the node keeps no more.
func TestAnswersThatNobodyTakesAreBounded(t *testing.T) {
	t.Parallel()
	q := newAnswerQueue(new(atomic.Int64))
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
	var unsent unsentBytes
	count, done := unsent.open("tenant")
	same, doneToo := unsent.open("tenant")
	other, otherDone := unsent.open("other")
	require.Same(t, count, same)
	require.NotSame(t, count, other)

	full, idle, others := newAnswerQueue(count), newAnswerQueue(same), newAnswerQueue(other)
	count.Add(tenantUnsentBytesMax - pipelineAnswerBytesMax/4) // of still other pipelines
	require.NoError(t, idle.room(t.Context()))
	require.True(t, full.add(largeAnswer(), 0))
	var quota *tenancy.QuotaError
	require.ErrorAs(t, idle.room(t.Context()), &quota)
	require.NotZero(t, quota.RetryAfter)
	require.NoError(t, others.room(t.Context()), "of another tenant")

	full.giveUp()
	require.NoError(t, idle.room(t.Context()))
	done()
	doneToo()
	otherDone()
	require.Empty(t, unsent.byTenant)
}
