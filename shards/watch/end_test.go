package watch_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

func TestRevokedCredentialEndsTheWatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		var revoked atomic.Bool
		c := newClient(t, s, watch.StreamConfig{StillValid: func(context.Context) error {
			if revoked.Load() {
				return tenancy.ErrUnauthenticated
			}
			return nil
		}})
		c.create(keySpec("a"))
		c.create(keySpec("b"))
		c.next()
		s.put("b", "2")
		synctest.Wait()
		revoked.Store(true)
		require.Equal(t, []string{
			`1: canceled "the credential is missing or not valid" resume=2 @1`,
			`2: canceled "the credential is missing or not valid" resume=2 @1`,
		}, c.next(), "no event is given out any more")
		_, err := c.Next(t.Context(), nil)
		require.ErrorIs(t, err, tenancy.ErrUnauthenticated)

		idle := newClient(t, s, watch.StreamConfig{StillValid: func(context.Context) error {
			if revoked.Load() {
				return tenancy.ErrUnauthenticated
			}
			return nil
		}})
		revoked.Store(false)
		idle.create(keySpec("a"))
		idle.next()
		time.AfterFunc(time.Minute, func() { revoked.Store(true) })
		began := time.Now()
		require.Len(t, idle.next(), 1)
		require.InDelta(t, 60, time.Since(began).Seconds(), 1.1)
	})
}

func TestTheEndOfTheShard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{WatchBytesMax: 2000})
		c := newClient(t, s, watch.StreamConfig{})
		c.create(keySpec("a"))
		c.create(prefixSpec(""))
		c.next()
		for i := range 20 {
			s.put("k", fmt.Sprint(i)) // the second falls behind
		}
		synctest.Wait()
		stopping := errors.New("the shard moves")
		s.hub.Close(stopping)
		var got []string
		for len(got) < 3 {
			got = append(got, c.next()...)
		}
		require.Equal(t, []string{
			`1: canceled "the shard moves" resume=2 @1`, "2: k=0/2 k=1/3 k=2/4 k=3/5 k=4/6 k=5/7 k=6/8 @8",
			`2: canceled "the shard moves" resume=9 @8`,
		}, got)
		require.ErrorIs(t, c.Create(s.hub, watch.Owner{Namespace: testNamespace}, keySpec("a")), stopping)
		require.Zero(t, s.accounts.Watches())
	})
}

func TestFailureOfStorageEndsTheWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		s.put("a", "2")
		s.put("a", "3")
		c := newClient(t, s, watch.StreamConfig{})
		live, past := keySpec("a"), keySpec("a")
		live.PrevKV, past.From = true, 2
		c.create(live)
		c.create(past)
		s.mu.Lock()
		s.fail = errors.New("the disk is gone")
		s.mu.Unlock()
		got := c.next()
		got = append(got, c.next()...)
		require.Equal(t, `2: canceled "the disk is gone" resume=2 @1`, got[2])
		s.put("a", "4")
		synctest.Wait()
		require.Equal(t, []string{`1: canceled "the disk is gone" resume=4 @3`}, c.next())
	})
}

func TestAnEndedStreamSaysWhy(t *testing.T) {
	t.Parallel()
	s := newShard(t, watch.Config{})
	c := newClient(t, s, watch.StreamConfig{})
	c.create(keySpec("a"))
	why := errors.New("the node is stopping")
	c.End(why)
	c.End(errors.New("and again"))
	require.Equal(t, []string{"1: created @1", `1: canceled "the node is stopping" resume=2 @1`}, c.next())
	_, err := c.Next(t.Context(), nil)
	require.ErrorIs(t, err, why)
	require.ErrorIs(t, c.Create(s.hub, watch.Owner{Namespace: testNamespace}, keySpec("a")), why)
	require.Zero(t, s.accounts.Watches())
}
