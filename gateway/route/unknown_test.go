package route_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// TestUnknownOutcomeOutlivesRefusals: a write that may have been applied is not
// called surely not applied because a later attempt was turned away. The state's
// own answer counts, because it would have been another one.
func TestUnknownOutcomeOutlivesRefusals(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]error{
		"busy": &shards.BusyError{Shard: 2, Queue: "shard"}, "no leader": &shards.NotLeaderError{Shard: 2},
		"too old": &shards.LevelError{Needs: machine.Level + 1}, "full disk": shards.ErrDiskFull, "the state": mvcc.ErrKeyExists,
	} {
		want := shards.ErrOutcomeUnknown
		if mvcc.IsRefusal(last) {
			want = last
		}
		t.Run("pipeline, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newAnswering(t, newFleet())
				op := valued(1, "a")
				op.GetPut().RequestId = "r1"
				a.Start(asTenant(t.Context(), tenancy.FullAccess()), []*flotillav1.Operation{op})
				synctest.Wait()
				a.answer(0, fmt.Errorf("the stream broke: %w", shards.ErrOutcomeUnknown))
				for range 1000 {
					time.Sleep(pauseOver) //nolint:forbidigo // the bubble's time
					waiting, done := a.state()
					if done > 0 {
						break
					}
					if waiting > 0 {
						a.answer(0, last)
					}
				}
				require.ErrorIs(t, a.answered[1], want)
			})
		})
		t.Run("one request, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				attempts := 0
				f.fail["n2"] = func() error {
					if attempts++; attempts == 1 {
						return shards.ErrOutcomeUnknown
					}
					return last
				}
				f.leader, f.named = "", ""
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				_, err := f.router().Propose(ctx, 2, "t", putOf("r"))
				require.ErrorIs(t, err, want)
			})
		})
	}
}
