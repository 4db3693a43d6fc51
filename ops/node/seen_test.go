package node

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

func record(boot, address string) *internalv1.NodeRecord {
	return &internalv1.NodeRecord{BootId: boot, PeerAddress: address}
}

// TestANodesOwnWordHoldsUntilTheCatalogKnowsBetter follows a node through
// restarts under other addresses.
func TestANodesOwnWordHoldsUntilTheCatalogKnowsBetter(t *testing.T) {
	t.Parallel()
	var s seen
	first := record("boot-1", "a:1")
	require.Equal(t, "a:1", s.present("n", first).GetPeerAddress(), "nobody said anything else")

	s.note("n", record("boot-1", "a:1"), first)
	require.Empty(t, s.byNode, "it says what is known")

	s.note("n", record("boot-2", "b:1"), first)
	require.Equal(t, "b:1", s.present("n", first).GetPeerAddress(), "it moved, and the catalog does not know")

	// The catalog has followed, and the node has moved on since: an old word must
	// not stand in the way.
	third := record("boot-3", "c:1")
	require.Equal(t, "c:1", s.present("n", third).GetPeerAddress())
	require.Equal(t, "a:1", s.present("n", first).GetPeerAddress())

	s.note("", record("boot-4", "d:1"), nil)
	s.note("other", record("", "d:1"), nil)
	require.Empty(t, s.byNode, "who names neither a node nor a process says nothing")
}

func TestWhatNodesSayIsBounded(t *testing.T) {
	t.Parallel()
	var s seen
	for i := range 3 * seenMax {
		s.note(fmt.Sprint(i), record("boot", "a:1"), nil)
		require.LessOrEqual(t, len(s.byNode), seenMax)
	}
}
