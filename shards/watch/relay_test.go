package watch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// relayOf is a relay for tenant t, and how often it was asked for progress.
func relayOf(t *testing.T, s *watch.Stream, accounts *watch.Accounts) (*watch.Relay, *int) {
	t.Helper()
	asked := 0
	r, err := s.NewRelay(accounts, watch.Owner{Tenant: "t"}, func() { asked++ })
	require.NoError(t, err)
	return r, &asked
}

func event(revision mvcc.Revision, key, value string) *watch.Event {
	return watch.EventFrom(&flotillav1.Event{Type: flotillav1.Event_TYPE_PUT, Kv: &flotillav1.KeyValue{
		Key: []byte(key), Value: []byte(value), CreateRevision: 1, ModRevision: uint64(revision), Version: 1,
	}})
}

func eventsOf(id int64, events ...*watch.Event) watch.Answer {
	return watch.Answer{WatchID: id, Revision: events[len(events)-1].Revision, Events: events}
}

// Watches of this node and of others share a stream's ids, order and end.
func TestRelayedWatchesAreTheStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		c := newClient(t, s, watch.StreamConfig{})
		c.create(keySpec("a"))
		r, _ := relayOf(t, c.Stream, &watch.Accounts{})
		id, err := r.Take(&watch.Spec{})
		require.NoError(t, err)
		require.Equal(t, int64(2), id, "the next one")
		_, err = r.Take(&watch.Spec{ID: 1})
		require.ErrorIs(t, err, watch.ErrWatchIDInUse)
		require.ErrorIs(t, c.Create(s.hub, watch.Owner{Tenant: "t", Namespace: testNamespace}, watch.Spec{ID: 2}), watch.ErrWatchIDInUse)
		require.Equal(t, 2, c.Watches())

		require.True(t, r.Put([]watch.Answer{
			{WatchID: 2, Created: true, Revision: 8}, eventsOf(2, event(9, "x", "1")), eventsOf(77, event(9, "x", "1")),
		}))
		require.Equal(t, []string{"1: created @1", "2: created @8", "2: x=1/9 @9"}, c.next())
		require.NoError(t, r.Taken(t.Context()))

		ended := errors.New("ended")
		c.End(ended)
		require.False(t, r.Put([]watch.Answer{eventsOf(2, event(10, "x", "2"))}))
		require.Equal(t, []string{`1: canceled "ended" resume=2 @1`, `2: canceled "ended" resume=10 @9`}, c.next())
		_, err = r.Take(&watch.Spec{})
		require.ErrorIs(t, err, ended)
	})
}

func TestNumberedWatchMayBeZero(t *testing.T) {
	t.Parallel()
	s := newShard(t, watch.Config{})
	c := newClient(t, s, watch.StreamConfig{FromZero: true})
	r, _ := relayOf(t, c.Stream, &watch.Accounts{})
	id, err := r.Take(&watch.Spec{})
	require.NoError(t, err)
	require.Zero(t, id)
	_, err = r.Take(&watch.Spec{Numbered: true})
	require.ErrorIs(t, err, watch.ErrWatchIDInUse)
	r.Free(0)
	id, err = r.Take(&watch.Spec{Numbered: true})
	require.NoError(t, err)
	require.Zero(t, id)
}

// Put waits for its caller: what was given is not more than one message ahead.
func TestRelayWaitsUntilItsAnswersAreTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, newShard(t, watch.Config{}), watch.StreamConfig{})
		r, _ := relayOf(t, c.Stream, &watch.Accounts{})
		id, err := r.Take(&watch.Spec{})
		require.NoError(t, err)
		r.Put([]watch.Answer{eventsOf(id, event(2, "x", "1"))})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.Taken(ctx), context.DeadlineExceeded)
		c.next()
		require.NoError(t, r.Taken(t.Context()))
		require.False(t, r.Put(nil), "nothing to wait for")
	})
}

// What relays bring counts as being sent, and waits while too much is.
func TestRelayedAnswersCountAsBeingSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		accounts := &watch.Accounts{}
		slow := newClient(t, newShard(t, watch.Config{}), watch.StreamConfig{})
		r, _ := relayOf(t, slow.Stream, accounts)
		id, err := r.Take(&watch.Spec{})
		require.NoError(t, err)
		for revision := range mvcc.Revision(40) { // of 2 MiB each with its copy
			r.Put([]watch.Answer{eventsOf(id, event(revision+2, "x", string(make([]byte, 1<<20))))})
		}
		other := newClient(t, newShard(t, watch.Config{}), watch.StreamConfig{})
		q, _ := relayOf(t, other.Stream, accounts)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, q.Ready(ctx), context.DeadlineExceeded)
		go func() {
			time.Sleep(time.Second) //nolint:forbidigo // the bubble's time
			slow.Close()
		}()
		require.NoError(t, q.Ready(t.Context()))
		require.Zero(t, accounts.SendingBytes())
	})
}

func TestRelaysAreStreamsOfTheTenant(t *testing.T) {
	t.Parallel()
	accounts := &watch.Accounts{}
	one, two := watch.NewStream(watch.StreamConfig{}), watch.NewStream(watch.StreamConfig{})
	defer two.Close()
	owner := watch.Owner{Tenant: "t", StreamsMax: 1}
	_, err := one.NewRelay(accounts, owner, nil)
	require.NoError(t, err)
	_, err = one.NewRelay(accounts, owner, nil)
	require.NoError(t, err, "of the same stream")
	_, err = two.NewRelay(accounts, owner, nil)
	var quota *tenancy.QuotaError
	require.ErrorAs(t, err, &quota)
	one.Close()
	_, err = two.NewRelay(accounts, owner, nil)
	require.NoError(t, err)
}

// A notice for all watches comes when all who serve some have told how far they
// are. It names no revision if they are several.
func TestProgressOfAllWithRelays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		c := newClient(t, s, watch.StreamConfig{})
		r, asked := relayOf(t, c.Stream, &watch.Accounts{})
		idle, askedIdle := relayOf(t, c.Stream, &watch.Accounts{})
		id, err := r.Take(&watch.Spec{})
		require.NoError(t, err)

		c.ProgressAll()
		require.Equal(t, 1, *asked)
		require.Zero(t, *askedIdle, "it has no watches")
		c.nothing()
		r.Put([]watch.Answer{{All: true, Revision: 30}})
		require.Equal(t, []string{"all: progress @30"}, c.next())

		c.create(keySpec("a"))
		c.next()
		c.ProgressAll()
		synctest.Wait()
		c.nothing()
		r.Put([]watch.Answer{{All: true, Revision: 31}})
		require.Equal(t, []string{"all: progress @0"}, c.next())
		r.Put([]watch.Answer{{All: true, Revision: 32}})
		c.nothing() // nobody asked

		// Who is lost does not hold it up.
		c.ProgressAll()
		synctest.Wait()
		c.nothing()
		r.Lose()
		require.Equal(t, []string{"all: progress @0"}, c.next())
		c.ProgressAll()
		synctest.Wait()
		require.Equal(t, []string{"all: progress @0"}, c.next(), "some of its watches are served by nobody")
		require.Equal(t, 3, *asked)

		require.True(t, idle.Adopt(id))
		require.False(t, idle.Adopt(99))
		c.ProgressAll()
		synctest.Wait()
		require.Equal(t, 1, *askedIdle)
		idle.Put([]watch.Answer{{All: true, Revision: 40}})
		require.Equal(t, []string{"all: progress @0"}, c.next())
	})
}

// A watch goes from one relay to another; what the former still puts is left out.
func TestRelayedWatchMoves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, newShard(t, watch.Config{}), watch.StreamConfig{})
		from, _ := relayOf(t, c.Stream, &watch.Accounts{})
		to, _ := relayOf(t, c.Stream, &watch.Accounts{})
		id, err := from.Take(&watch.Spec{})
		require.NoError(t, err)
		from.Put([]watch.Answer{eventsOf(id, event(5, "x", "1"))})
		from.Lose()
		require.True(t, to.Adopt(id))
		from.Put([]watch.Answer{eventsOf(id, event(6, "x", "no"))})
		to.Put([]watch.Answer{eventsOf(id, event(6, "x", "2"))})
		require.Equal(t, []string{"1: x=1/5 @5", "1: x=2/6 @6"}, c.next())
		to.Finish(id, 9, errors.New("gone"))
		to.Finish(id, 9, errors.New("gone"))
		require.Equal(t, []string{`1: canceled "gone" resume=9 @6`}, c.next())
		require.Zero(t, c.Watches())
		c.nothing()
	})
}

// Events are the same on the other side.
func TestEventsTravel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		c := newClient(t, s, watch.StreamConfig{})
		spec := keySpec("a")
		spec.PrevKV = true
		c.create(spec)
		c.next()
		s.put("a", "1")
		s.put("a", "2")
		s.delete("a")
		synctest.Wait()
		answers, err := c.Next(t.Context(), nil)
		require.NoError(t, err)
		for _, a := range answers {
			for _, e := range a.Events {
				traveled := watch.EventFrom(watch.EventProto(e, true))
				require.Equal(t, describeEvent(e, true), describeEvent(traveled, true))
				require.Equal(t, watch.EventProto(e, true).String(), watch.EventProto(traveled, true).String())
			}
		}
	})
}

// The answer that ends a watch tells how to begin it again elsewhere.
func TestLostWatchTellsHowItGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		c := newClient(t, s, watch.StreamConfig{})
		spec := keySpec("a")
		spec.NoDelete, spec.Progress = true, true
		c.create(spec)
		s.put("a", "1")
		synctest.Wait()
		c.next()
		s.hub.Close(errors.New("dropped"))
		answers, err := c.Next(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, answers, 1)
		spec.ID, spec.From = 1, 3
		require.Equal(t, &watch.Lost{Namespace: testNamespace, Spec: spec}, answers[0].Lost)
	})
}
