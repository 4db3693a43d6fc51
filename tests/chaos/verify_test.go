package chaos

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// verify holds a node to what its writers were told. Nobody writes meanwhile.
func (l *ledger) verify(t *testing.T, kv *flotilla.KV) {
	t.Helper()
	stored := make(map[string]*flotilla.KeyValue)
	var writes uint64 // there are no deletions, so versions count all writes
	for found, err := range kv.Range(t.Context(), flotilla.AllKeys(), nil) {
		require.NoError(t, err)
		stored[found.Key] = found
		writes += found.Version
	}
	l.verifyUnique(t, stored)
	for counter, counts := range l.counted {
		l.verifyCounter(t, counter, counts, stored[counter])
	}
	for list, items := range l.listed {
		l.verifyList(t, list, items, stored[list])
	}

	state, err := kv.Txn(t.Context(), flotilla.Txn{Then: []flotilla.Op{flotilla.OpGet("none")}})
	require.NoError(t, err)
	require.GreaterOrEqual(t, state.Revision, l.revision, "the revision went back")
	require.Equal(t, 1+writes, state.Revision, "each write takes one revision, from 2")
	l.revision = state.Revision
}

func (l *ledger) verifyUnique(t *testing.T, stored map[string]*flotilla.KeyValue) {
	t.Helper()
	for key, e := range l.unique {
		found := stored[key]
		switch {
		case found == nil:
			require.NotEqual(t, acknowledged, e.outcome, "%s was acknowledged at revision %d and is gone", key, e.revision)
			continue
		case e.outcome == refused:
			require.Fail(t, "a refused write happened", key)
		case e.outcome == acknowledged:
			require.Equal(t, e.revision, found.ModRevision, "%s is at another revision than was acknowledged", key)
		}
		require.Equal(t, uint64(1), found.Version, "%s was written once and is there twice", key)
		require.Equal(t, e.value, string(found.Value), "%s has another value", key)
		// What was unknown is known now, and must stay so.
		l.unique[key] = entry{value: e.value, outcome: acknowledged, revision: found.ModRevision}
	}
	for key := range stored {
		if _, ok := l.unique[key]; !ok && strings.HasPrefix(key, "unique/") {
			require.Fail(t, "a key that nobody wrote", key)
		}
	}
}

func (l *ledger) verifyCounter(t *testing.T, counter string, counts [3]int, found *flotilla.KeyValue) {
	t.Helper()
	value := 0
	if found != nil {
		var err error
		value, err = strconv.Atoi(string(found.Value))
		require.NoError(t, err)
		require.Equal(t, uint64(value), found.Version, "%s was added to by writes that happened twice", counter)
	}
	require.GreaterOrEqual(t, value, counts[acknowledged], "%s lost acknowledged additions", counter)
	require.LessOrEqual(t, value, counts[acknowledged]+counts[unknown], "%s has refused or repeated additions", counter)
	l.counted[counter] = [3]int{acknowledged: value}
}

func (l *ledger) verifyList(t *testing.T, list string, items [3][]string, found *flotilla.KeyValue) {
	t.Helper()
	there := make(map[string]int)
	var order []string
	if found != nil {
		order = slices.Collect(strings.SplitAfterSeq(strings.TrimSuffix(string(found.Value), ","), ","))
		order[len(order)-1] += ","
		require.Equal(t, uint64(len(order)), found.Version, "%s was appended to by writes that happened twice", list)
	}
	for _, item := range order {
		there[item]++
		require.Equal(t, 1, there[item], "%s has %q twice", list, item)
	}
	for _, item := range items[acknowledged] {
		require.Equal(t, 1, there[item], "%s lost %q", list, item)
		delete(there, item)
	}
	for _, item := range items[unknown] {
		delete(there, item)
	}
	require.Empty(t, there, "%s has items that were refused, or that nobody appended", list)
	l.listed[list] = [3][]string{acknowledged: order}
}
