package route

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tenancy"
)

// With more namespaces than are remembered, one is forgotten for each that is new: all
// others are told no more often than before.
func TestOneIsForgottenForOneThatIsNew(t *testing.T) {
	t.Parallel()
	var led ledElsewhere
	now := time.Unix(1000, 0)
	for ns := range tenancy.NamespaceID(2 * ledElsewhereMax) {
		require.True(t, led.isNews(ns, "n2", now))
		require.False(t, led.isNews(ns, "n2", now.Add(tellElsewhereAgain-1)))
		require.Len(t, led, min(int(ns)+1, ledElsewhereMax))
	}
}
