package node

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// record is of the process of a number, which starts later than those before.
func record(boot uint64, address string) *internalv1.NodeRecord {
	return &internalv1.NodeRecord{BootId: fmt.Sprintf("boot-%d", boot), BootTimeMs: boot, PeerAddress: address}
}

// TestANodesOwnWordHoldsUntilTheCatalogKnowsBetter follows a node through
// restarts under other addresses.
func TestANodesOwnWordHoldsUntilTheCatalogKnowsBetter(t *testing.T) {
	t.Parallel()
	var s seen
	first := record(1, "a:1")
	require.Equal(t, "a:1", s.present("n", first).GetPeerAddress(), "nobody said anything else")

	s.note("n", record(1, "a:1"), first)
	require.Empty(t, s.byNode, "it says what is known")

	s.note("n", record(2, "b:1"), first)
	require.Equal(t, "b:1", s.present("n", first).GetPeerAddress(), "it moved, and the catalog does not know")

	// The catalog has followed, and the node has moved on since: an old word must
	// not stand in the way.
	third := record(3, "c:1")
	require.Equal(t, "c:1", s.present("n", third).GetPeerAddress())
	require.Equal(t, "a:1", s.present("n", first).GetPeerAddress())

	s.note("n", record(2, "b:1"), third)
	require.Equal(t, "c:1", s.present("n", third).GetPeerAddress(), "an earlier process speaks late")

	s.note("", record(4, "d:1"), nil)
	s.note("other", &internalv1.NodeRecord{BootTimeMs: 4, PeerAddress: "d:1"}, nil)
	s.note("other", record(4, ""), nil)
	require.Empty(t, s.byNode, "who names no node, no process or no address says nothing")
}

func TestWhatNodesSayIsBounded(t *testing.T) {
	t.Parallel()
	var s seen
	for i := range 3 * seenMax {
		s.note(fmt.Sprint(i), record(1, "a:1"), nil)
		require.LessOrEqual(t, len(s.byNode), seenMax)
	}
}
