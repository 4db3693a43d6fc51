package watch_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

func TestLiveEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		s.put("a", "0")
		c := newClient(t, s, watch.StreamConfig{})
		c.create(prefixSpec("a"))
		c.create(keySpec("b"))
		require.Equal(t, []string{"1: created @2", "2: created @2"}, c.next())
		s.put("a", "1")
		synctest.Wait()
		require.Equal(t, []string{"1: a=1/3 @3"}, c.next())
		s.txn("2", "b", "aa", "c", "a")
		synctest.Wait()
		require.Equal(t, []string{"2: b=2/4 @4", "1: aa=2/4 a=2/4 @4"}, c.next())
		s.delete("a")
		s.put("b", "3")
		synctest.Wait()
		require.Equal(t, []string{"1: -a/5 -aa/5 @5", "2: b=3/6 @6"}, c.next())
		s.put("c", "not watched")
		synctest.Wait()
		c.nothing()
		require.Equal(t, 1, s.reads, "of the revision, when the first watch began")
	})
}

func TestWhereAWatchBegins(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		from mvcc.Revision
		want []string
	}{
		{"now", 0, []string{"1: created @4", "1: a=late/5 @5"}},
		{"the next revision", 5, []string{"1: created @4", "1: a=late/5 @5"}},
		{"in the past", 3, []string{"1: created @2", "1: a=3/3 a=4/4 @4", "1: a=late/5 @5"}},
		{"at the compact revision", 2, []string{"1: created @1", "1: a=2/2 a=3/3 a=4/4 @4", "1: a=late/5 @5"}},
		{"before the compact revision", 1, []string{"1: created @0", `1: canceled "the revision is compacted; the compact revision is 2" resume=1 @0`}},
		{"in the future", 6, []string{"1: created @4"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShard(t, watch.Config{})
				s.put("a", "2")
				s.put("a", "3")
				s.put("a", "4")
				s.compact(2)
				c := newClient(t, s, watch.StreamConfig{})
				spec := keySpec("a")
				spec.From = test.from
				c.create(spec)
				var got []string
				got = append(got, c.next()...)
				for len(got) < len(test.want)-1 {
					got = append(got, c.next()...)
				}
				s.put("a", "late")
				synctest.Wait()
				for len(got) < len(test.want) {
					got = append(got, c.next()...)
				}
				require.Equal(t, test.want, got)
				c.nothing()
			})
		})
	}
}

func TestFiltersAndPreviousVersions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		s.put("a", "2")
		s.put("a", "3")
		c := newClient(t, s, watch.StreamConfig{})
		writes, deletions, both := keySpec("a"), keySpec("a"), keySpec("a")
		writes.NoDelete, deletions.NoPut, both.PrevKV = true, true, true
		c.create(writes)
		c.create(deletions)
		c.create(both)
		require.Len(t, c.next(), 3)
		s.put("a", "4")
		s.delete("a")
		s.put("a", strings.Repeat("x", 2000))
		s.put("a", "7") // what it replaces is too large to be kept with the event
		synctest.Wait()
		var got []string
		for len(got) < 3 {
			got = append(got, c.next()...)
		}
		long := strings.Repeat("x", 2000)
		require.ElementsMatch(t, []string{
			"1: a=4/4 a=" + long + "/6 a=7/7 @7",
			"2: -a/5 @5",
			"3: a=4/4(was 3/3) -a/5(was 4/4) a=" + long + "/6(was nothing) a=7/7(was " + long + "/6) @7",
		}, got)

		// The same from the history, where the first one's is compacted.
		s.compact(4)
		both.From, both.ID = 4, 9
		c.create(both)
		require.Equal(t, []string{"9: created @3"}, c.next()[:1])
		require.Equal(t, []string{
			"9: a=4/4(was nothing) -a/5(was 4/4) a=" + long + "/6(was nothing) a=7/7(was " + long + "/6) @7",
		}, c.next())
	})
}

func TestIDs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{})
		c := newClient(t, s, watch.StreamConfig{})
		spec := keySpec("a")
		spec.ID = 2
		c.create(spec)
		owner := watch.Owner{Tenant: "t", Namespace: testNamespace}
		require.ErrorIs(t, c.Create(s.hub, owner, spec), watch.ErrWatchIDInUse)
		c.create(keySpec("a")) // 1
		c.create(keySpec("a")) // 2 is taken
		c.Cancel(2)
		c.Cancel(2)
		c.Refuse(5, tenancy.ErrPermissionDenied)
		c.create(spec)
		c.Progress(77)
		require.Equal(t, []string{
			"2: created @1", "1: created @1", "3: created @1", "2: canceled resume=2 @1",
			`2: canceled "the stream has no watch of this id" @0`,
			`5: created canceled "the credential does not allow this" @0`,
			"2: created @1",
			`77: canceled "the stream has no watch of this id" @0`,
		}, c.next())
		require.Equal(t, 3, s.accounts.Watches())

		zero := newClient(t, s, watch.StreamConfig{FromZero: true})
		zero.create(keySpec("a"))
		zero.create(keySpec("a"))
		require.Equal(t, []string{"0: created @1", "1: created @1"}, zero.next())
	})
}

func TestLimitOfWatches(t *testing.T) {
	t.Parallel()
	s := newShard(t, watch.Config{})
	c := newClient(t, s, watch.StreamConfig{})
	owner := watch.Owner{Tenant: "t", Namespace: testNamespace, WatchesMax: 2}
	require.NoError(t, c.Create(s.hub, owner, keySpec("a")))
	require.NoError(t, c.Create(s.hub, owner, keySpec("a")))
	var quota *tenancy.QuotaError
	require.ErrorAs(t, c.Create(s.hub, owner, keySpec("a")), &quota)
	require.Equal(t, "watches_max", quota.Limit)
	owner.Tenant = "another"
	require.NoError(t, c.Create(s.hub, owner, keySpec("a")))
	c.Cancel(1)
	owner.Tenant = "t"
	require.NoError(t, c.Create(s.hub, owner, keySpec("a")))
}

func TestASlowWatchFallsBackToTheHistory(t *testing.T) {
	t.Parallel()
	t.Run("on disk", func(t *testing.T) {
		t.Parallel()
		fallBack(t, 1, 2)
	})
	t.Run("that others share", func(t *testing.T) {
		t.Parallel()
		fallBack(t, 100_000, 1)
	})
}

func fallBack(t *testing.T, recent, reads int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{WatchBytesMax: 2000, RecentBytesMax: recent})
		c := newClient(t, s, watch.StreamConfig{})
		quick := newClient(t, s, watch.StreamConfig{})
		c.create(prefixSpec(""))
		quick.create(prefixSpec(""))
		c.next()
		quick.next()
		var want []string
		for i := range 100 {
			s.put(fmt.Sprint("k", i%10), fmt.Sprint(i))
			synctest.Wait()
			one := fmt.Sprintf("k%d=%d/%d", i%10, i, i+2)
			want = append(want, one)
			require.Equal(t, []string{fmt.Sprintf("1: %s @%d", one, i+2)}, quick.next())
		}
		require.Equal(t, 1, s.reads, "the quick watch needs no history")
		require.Equal(t, []string{"1: " + strings.Join(want[:7], " ") + " @8"}, c.next(), "what it had when it fell behind")
		require.Equal(t, []string{"1: " + strings.Join(want[7:], " ") + " @101"}, c.next())
		require.Equal(t, reads, s.reads)
		s.put("k", "live again")
		synctest.Wait()
		require.Equal(t, []string{"1: k=live again/102 @102"}, c.next())
		require.Equal(t, reads, s.reads)
	})
}

func TestCompactionOvertakesASlowWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{WatchBytesMax: 2000, RecentBytesMax: 1})
		c := newClient(t, s, watch.StreamConfig{})
		c.create(prefixSpec(""))
		c.create(keySpec("other"))
		c.next()
		for i := range 50 {
			s.put("k", fmt.Sprint(i))
		}
		synctest.Wait()
		s.compact(20)
		require.Equal(t, []string{"1: k=0/2 k=1/3 k=2/4 k=3/5 k=4/6 k=5/7 k=6/8 @8"}, c.next())
		require.Equal(t, []string{`1: canceled "the revision is compacted; the compact revision is 20" resume=9 @8`}, c.next())
		// A watch of which nothing waits is not overtaken, however old its last
		// event is.
		s.put("other", "51")
		synctest.Wait()
		require.Equal(t, []string{"2: other=51/52 @52"}, c.next())
	})
}

func TestAnOldWatchIsNotOvertakenWhenItFallsBehindLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{WatchBytesMax: 2000})
		c := newClient(t, s, watch.StreamConfig{})
		c.create(keySpec("other"))
		c.next()
		for i := range 50 {
			s.put("k", fmt.Sprint(i))
		}
		synctest.Wait()
		s.compact(51)
		s.apply(s.putting("other", strings.Repeat("x", 3000)))
		synctest.Wait()
		require.Equal(t, []string{"1: other=" + strings.Repeat("x", 3000) + "/52 @52"}, c.next())
	})
}

func TestTenantsDoNotShareTheirBounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newShard(t, watch.Config{TenantBytesMax: 2000})
		c := newClient(t, s, watch.StreamConfig{})
		c.create(prefixSpec(""))
		c.create(prefixSpec(""))
		c.next()
		for i := range 20 {
			s.put("k", fmt.Sprint(i))
			synctest.Wait()
		}
		require.LessOrEqual(t, s.accounts.WaitingBytes(), int64(2500), "events that both wait for count once")
		events := map[int64]int{}
		for events[1] < 20 || events[2] < 20 {
			answers, err := c.Next(t.Context(), nil)
			require.NoError(t, err)
			for _, a := range answers {
				events[a.WatchID] += len(a.Events)
			}
		}
		require.Equal(t, map[int64]int{1: 20, 2: 20}, events)
		require.Zero(t, s.accounts.WaitingBytes())
	})
}

func TestEventsOfARevisionStayTogether(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 18<<10)
	for _, test := range []struct {
		name    string
		from    mvcc.Revision
		history bool
		cfg     watch.Config
	}{
		{name: "live"},
		{name: "history", from: 2, history: true},
		{name: "recent events", cfg: watch.Config{WatchBytesMax: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShard(t, test.cfg)
				write := func() {
					s.txn(large, "a1", "a2", "b1", "a3", "a4", "a5", "b2", "a6", "a7", "a8", "b3")
					s.put("a9", "after")
					synctest.Wait()
				}
				if test.history {
					write()
				}
				c := newClient(t, s, watch.StreamConfig{})
				whole, parts := prefixSpec("a"), prefixSpec("a")
				whole.From, parts.From, parts.Fragment = test.from, test.from, true
				c.create(whole)
				c.create(parts)
				if !test.history {
					write()
				}
				got := map[int64][]string{}
				for range 8 {
					if len(got[1]) == 3 && len(got[2]) == 4 {
						break
					}
					answers, err := c.Next(t.Context(), nil)
					require.NoError(t, err)
					for _, a := range answers {
						got[a.WatchID] = append(got[a.WatchID], strings.ReplaceAll(describe(a), large, ""))
					}
				}
				require.Equal(t, "1: a1=/2 a2=/2 a3=/2 a4=/2 a5=/2 a6=/2 a7=/2 a8=/2 @2", got[1][1])
				require.Equal(t, "1: a9=after/3 @3", got[1][2])
				require.Equal(t, []string{
					"2: a1=/2 a2=/2 a3=/2 a4=/2 fragment @2", "2: a5=/2 a6=/2 a7=/2 a8=/2 @2", "2: a9=after/3 @3",
				}, got[2][1:])
			})
		})
	}
}
