package gateway

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// TestLimitsThatWouldNotHold are refused: the platform takes no more from anybody.
func TestLimitsThatWouldNotHold(t *testing.T) {
	t.Parallel()
	require.NoError(t, checkLimits(nil))
	require.NoError(t, checkLimits(&flotillav1.Limits{
		KeyBytesMax: 4 << 10, ValueBytesMax: 4 << 20, RequestBytesMax: 4 << 20, TxnOperationsMax: 1024, KeysMax: 1 << 62,
	}))
	for want, own := range map[string]*flotillav1.Limits{
		"limits.key_bytes_max: takes up to 4096":        {KeyBytesMax: 4<<10 + 1},
		"limits.value_bytes_max: takes up to 4194304":   {ValueBytesMax: 4<<20 + 1},
		"limits.request_bytes_max: takes up to 4194304": {RequestBytesMax: 4<<20 + 1},
		"limits.txn_operations_max: takes up to 1024":   {TxnOperationsMax: 1025},
	} {
		require.EqualError(t, checkLimits(own), want)
	}
}

// TestActorsOfTheAuditLog: a name that no entry can have is refused, and what there is
// named.
func TestActorsOfTheAuditLog(t *testing.T) {
	t.Parallel()
	for _, actor := range []string{"", "operator:eve", "key:acme/kvu2hbl4ykk5xtsq", "issuer:acme/ci", "node:n1", "flotilla"} {
		require.NoError(t, checkActor(actor), actor)
	}
	for _, actor := range []string{"foo", "eve", "operator", "Operator:eve", "flotilla:n1"} {
		require.EqualError(t, checkActor(actor),
			"actor: takes a name as the list has it: it begins with operator:, key:, issuer:, node:, or is flotilla", actor)
	}
	require.ErrorContains(t, checkActor("operator:"+strings.Repeat("x", 256)), "up to 256 bytes")
}
