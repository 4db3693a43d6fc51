package intercept

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// ledger keeps what was written, unless it is down.
type ledger struct {
	writes [][]string
	down   error
}

func (l *ledger) NoteKeyUses(_ context.Context, ids []string, _ time.Time) error {
	if l.down != nil {
		return l.down
	}
	l.writes = append(l.writes, ids)
	return nil
}

// TestKeyUses notes a key's use at most every ten minutes, and again what could not
// be written.
func TestKeyUses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := &ledger{}
		uses := NewKeyUses(kept, time.Now, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- uses.Run(ctx) }()
		pass := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		for range 100 {
			uses.note("a")
		}
		uses.note("b")
		pass(6 * time.Second)
		require.Equal(t, [][]string{{"a", "b"}}, kept.writes)
		pass(9 * time.Minute)
		uses.note("a")
		pass(6 * time.Second)
		require.Len(t, kept.writes, 1)
		pass(time.Minute)
		kept.down = errors.New("the ledger cannot be written")
		uses.note("a")
		pass(6 * time.Second)
		kept.down = nil
		uses.note("a")
		pass(6 * time.Second)
		require.Equal(t, []string{"a"}, kept.writes[1])

		kept.writes = nil
		for i := range keyUsesWaiting + 10 {
			uses.note(fmt.Sprint(i))
		}
		pass(6 * time.Second)
		written := 0
		for _, ids := range kept.writes {
			require.LessOrEqual(t, len(ids), keyUsesOfWrite)
			written += len(ids)
		}
		require.Equal(t, keyUsesWaiting, written)
		uses.note(fmt.Sprint(keyUsesWaiting + 1))
		pass(6 * time.Second)
		require.Equal(t, []string{fmt.Sprint(keyUsesWaiting + 1)}, kept.writes[len(kept.writes)-1], "what was left out is noted later")
		stop()
		require.NoError(t, <-ended)
	})
}
