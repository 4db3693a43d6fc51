package gateway

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
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
		q := newAnswerQueue()
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
	q := newAnswerQueue()
	require.NoError(t, q.admit(t.Context(), 1, 1))
	q.add(largeAnswer(), 1)
	require.ErrorIs(t, q.send(func(*flotillav1.PipelineResponse) error { return gone }), gone)
}
