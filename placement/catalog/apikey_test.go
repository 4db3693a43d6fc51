package catalog_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
)

// The last key that administrates stays, also when the gateway that is asked to end
// it has not seen yet that the other one will expire.
func TestTheLastKeyStaysWhereMemoryIsOld(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	operator, gateway, there := followTwoKeys(t, catalog.Config{FreshFor: time.Hour})
	_, err := gateway.ListAPIKeys(ctx, "t")
	require.NoError(t, err)

	there.SetBlind(true)
	there.SetHang(true)
	next := catalog.APIKey{ID: "key3", Tenant: "t", SecretHash: []byte("key3"), Expire: time.Now().Add(time.Hour)}
	_, _, err = operator.RotateAPIKey(ctx, "key1", next, time.Hour)
	require.NoError(t, err, "key2 administrates")
	known, err := gateway.APIKey(ctx, "key1")
	require.NoError(t, err)
	require.Zero(t, known.Expire, "this gateway does not know yet")
	require.ErrorIs(t, gateway.RevokeAPIKey(ctx, "t", "key2"), catalog.ErrLastAPIKey)
}
