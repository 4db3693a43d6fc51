package catalog

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// K2, step by step: what is in memory is used while the watch is known to have
// shown all, or nothing newer can be had.
func TestTrust(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	var tr trust
	tr.begin(5*time.Second, func() time.Time { return now })
	record := found{known: true, value: "a record"}
	old := found{known: true, old: true, value: "a record"}
	absent := found{known: true}
	usable := func() [4]bool {
		return [4]bool{tr.usable(record), tr.usable(absent), tr.usable(old), tr.usable(found{})}
	}
	none, fresh, atWorst := [4]bool{}, [4]bool{true, true, false, false}, [4]bool{true, false, true, false}

	require.Equal(t, none, usable(), "nothing was confirmed yet")
	ask := tr.moment()
	require.False(t, tr.answered(ask, 7))
	require.Equal(t, none, usable(), "the watch has not shown revision 7")
	now = now.Add(time.Second)
	tr.showed(7)
	require.Equal(t, fresh, usable(), "it has, and was so a second ago")
	now = now.Add(4*time.Second + time.Nanosecond)
	require.Equal(t, none, usable(), "that was too long ago")

	tr.answered(tr.moment(), 9)
	tr.showed(8)
	require.Equal(t, none, usable())
	tr.showed(9)
	require.Equal(t, fresh, usable())
	tr.answered(tr.moment(), 10)
	now = now.Add(showWithin)
	require.Equal(t, fresh, usable())
	tr.answered(tr.moment(), 11)
	now = now.Add(1)
	require.Equal(t, none, usable(), "revision 10 is overdue")
	tr.showed(10)
	require.Equal(t, fresh, usable(), "revision 11 is not yet")
	now = now.Add(showWithin)
	require.Equal(t, none, usable())

	require.False(t, tr.hangs())
	now = now.Add(hangsAfter)
	require.True(t, tr.hangs())
	require.False(t, tr.hangs(), "the next watch is given time")
	now = now.Add(hangsAfter)
	require.True(t, tr.hangs())
	for revision := range uint64(100) {
		tr.answered(tr.moment(), 100+revision)
	}
	require.LessOrEqual(t, len(tr.behind), looksBehind)
	now = now.Add(showWithin + 1)
	tr.showed(198)
	require.Equal(t, none, usable())
	tr.showed(199)
	require.Equal(t, fresh, usable())

	slow := tr.moment()
	now = now.Add(time.Second)
	tr.answered(tr.moment(), 199)
	require.False(t, tr.failed(slow), "a look that began later was answered")
	now = now.Add(time.Second)
	require.True(t, tr.failed(tr.moment()))
	require.False(t, tr.failed(tr.moment()), "it is no news")
	require.Equal(t, [4]bool{true, true, true, false}, usable(), "fresh, and nothing newer can be had")
	now = now.Add(time.Hour)
	require.Equal(t, atWorst, usable(), "records go on, but nobody is told a wrong no")
	require.True(t, tr.answered(tr.moment(), 200))
	require.Equal(t, none, usable(), "it can be read again, so it is")
}

// An entry is old once changes may have been missed, and what was read before
// that is not put in.
func TestCacheAfterAGap(t *testing.T) {
	t.Parallel()
	c, err := newCache(10)
	require.NoError(t, err)
	c.fill("a", 1, c.get("a").generation)
	require.False(t, c.get("a").old)
	before := c.get("b").generation
	c.missed()
	require.True(t, c.get("a").old)
	c.fill("b", 2, before)
	require.False(t, c.get("b").known)
	c.fill("a", 3, c.get("a").generation)
	require.Equal(t, found{value: 3, known: true, generation: c.generation}, c.get("a"))
	c.drop([]string{"a"})
	require.False(t, c.get("a").known)
}
