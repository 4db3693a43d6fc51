package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

func TestClocksAreWarnedOfOnce(t *testing.T) {
	t.Parallel()
	var s skews
	known := map[string]*internalv1.NodeRecord{"n2": {}, "n3": {}}
	require.False(t, s.note("n2", 20*time.Millisecond, known))
	require.False(t, s.note("n3", -skewMax, known), "as far as is allowed")
	require.True(t, s.note("n3", -skewMax-time.Millisecond, known))
	require.False(t, s.note("n3", -time.Hour, known), "it was told")
	require.False(t, s.note("n3", 0, known))
	require.True(t, s.note("n3", time.Second, known), "anew")

	skew, ok := s.of("n3")
	require.True(t, ok)
	require.Equal(t, time.Second, skew)
	_, ok = s.of("n4")
	require.False(t, ok)
	delete(known, "n3")
	s.note("n2", 0, known)
	_, ok = s.of("n3")
	require.False(t, ok, "it is no node any more")
}
