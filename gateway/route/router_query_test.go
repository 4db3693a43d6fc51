package route_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

func getOne(ctx context.Context, r *route.Router, c shards.Consistency) error {
	_, err := r.Query(ctx, 2, 7, c, &flotillav1.GetRequest{Key: []byte("a")})
	return err
}

func TestQueriesAreAnsweredHereIfTheyCanBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		r := f.router()
		require.NoError(t, getOne(t.Context(), r, shards.Linearizable))
		require.Equal(t, []string{"get n1"}, f.attempts())

		f.set(func() { f.behind, f.asked = true, nil })
		start := time.Now()
		require.NoError(t, getOne(t.Context(), r, shards.Linearizable))
		require.Equal(t, []string{"get n1", "get n2"}, f.attempts(), "a replica that is cut off is not waited for")
		require.Equal(t, time.Second, time.Since(start))
		require.NoError(t, getOne(t.Context(), r, shards.Linearizable))
		require.Equal(t, []string{"get n1", "get n2", "get n2"}, f.attempts(), "not by each query")
		require.NoError(t, getOne(t.Context(), r, shards.Serializable))
		require.Equal(t, "get n1", f.attempts()[3], "it may lag")

		f.set(func() { f.behind, f.asked = false, nil })
		time.Sleep(3 * time.Second) //nolint:forbidigo // the bubble's time
		require.NoError(t, getOne(t.Context(), r, shards.Linearizable))
		require.Equal(t, []string{"get n1"}, f.attempts(), "until later")

		f.set(func() { f.here, f.asked = false, nil })
		f.set(func() { f.fail["n1"], f.fail["n2"] = unreachable, unreachable })
		require.NoError(t, getOne(t.Context(), r, shards.Linearizable))
		require.Equal(t, "get n3", f.attempts()[len(f.attempts())-1], "each of the others is asked in turn")
	})
}

// What the catalog looks for must be known in time also where this node's replica of
// the system shard is cut off.
func TestTheSystemShardIsSoonAskedElsewhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		f.behind = true
		start := time.Now()
		_, err := f.router().Query(t.Context(), shards.SystemShard, tenancy.SystemNamespace, shards.Linearizable, &flotillav1.GetRequest{Key: []byte("a")})
		require.NoError(t, err)
		require.Equal(t, 200*time.Millisecond, time.Since(start))
		require.Equal(t, []string{"get n1", "get n2"}, f.attempts())
	})
}

// A replica may become current in the moment in which another one is to be asked.
func TestReplicaIsCurrentAtTheLastMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			f := newFleet()
			f.slow = time.Second
			require.NoError(t, getOne(t.Context(), f.router(), shards.Linearizable))
		}
	})
}

// A refusal by the state is an answer, which nobody else is asked for.
func TestRefusedQueryIsAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		refused := &mvcc.CompactedError{CompactRevision: 3}
		f.fail["n1"] = func() error { return refused }
		require.ErrorIs(t, getOne(t.Context(), f.router(), shards.Linearizable), refused)
		require.Len(t, f.attempts(), 1)
	})
}
