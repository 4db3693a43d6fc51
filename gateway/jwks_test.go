package gateway

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKeysOfTokensAreReadOnce has callers wait for one reading, and no longer than
// they want to; keys that cannot be read are told as they were.
func TestKeysOfTokensAreReadOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reads int
		text, failed := []byte("keys"), error(nil)
		j := newJWKS(nil, time.Now, slog.New(slog.DiscardHandler))
		j.read = func(ctx context.Context) ([]byte, error) {
			reads++
			<-time.After(3 * time.Second)
			require.NoError(t, ctx.Err(), "it goes on when its caller has gone")
			return text, failed
		}
		begun := time.Now()
		for range 3 {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, _ = j.current(ctx)
			}()
		}
		synctest.Wait()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := j.current(impatient)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(begun))
		got, err := j.current(t.Context())
		require.NoError(t, err)
		require.Equal(t, "keys", string(got))
		require.Equal(t, 1, reads)

		<-time.After(signingKeyKept)
		failed = errors.New("the system shard is down")
		got, err = j.current(t.Context())
		require.NoError(t, err)
		require.Equal(t, "keys", string(got), "as they were")
		_, err = j.current(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, reads, "not at once again")
	})
}

// TestKeysOfTokensCannotBeRead tells so, without a reading for each who asks.
func TestKeysOfTokensCannotBeRead(t *testing.T) {
	t.Parallel()
	now, reads := time.Unix(1000, 0), 0
	down := errors.New("the system shard is down")
	j := newJWKS(nil, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	j.read = func(context.Context) ([]byte, error) { reads++; return []byte("keys"), down }
	for range 3 {
		_, err := j.current(t.Context())
		require.ErrorIs(t, err, down)
	}
	require.Equal(t, 1, reads)
	down, now = nil, now.Add(jwksAgain)
	text, err := j.current(t.Context())
	require.NoError(t, err)
	require.Equal(t, "keys", string(text))
}
