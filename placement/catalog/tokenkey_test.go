package catalog_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tenancy"
)

func TestSigningKeys(t *testing.T) {
	t.Parallel()
	c, clock := newTimed(t)
	ctx := t.Context()
	signing := func() string {
		t.Helper()
		key, err := c.SigningKey(ctx)
		require.NoError(t, err)
		found, err := c.TokenKey(ctx, key.ID)
		require.NoError(t, err)
		require.Equal(t, key.Private, found.Private)
		return key.ID
	}
	first := signing()
	clock.move(7*24*time.Hour - time.Millisecond)
	require.Equal(t, first, signing())
	clock.move(time.Millisecond)
	second := signing()
	require.NotEqual(t, first, second, "a key signs for a week")
	_, err := c.TokenKey(ctx, first)
	require.NoError(t, err, "tokens that it has signed are still good")
	clock.move(7 * 24 * time.Hour)
	third := signing()
	_, err = c.TokenKey(ctx, first)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
	list, err := c.TokenKeys(ctx)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, third, list[0].ID)
}

// TestSigningKeyIsOne although many ask for the first at the same time: each may make
// one, and from then on all agree.
func TestSigningKeyIsOne(t *testing.T) {
	t.Parallel()
	catalogs := startCatalogs(t, 3, 2)
	ask := func() map[string]bool {
		ids := make(chan string, len(catalogs))
		for _, c := range catalogs {
			go func() {
				key, err := c.SigningKey(context.WithoutCancel(t.Context()))
				if err != nil {
					ids <- err.Error()
					return
				}
				ids <- key.ID
			}()
		}
		found := make(map[string]bool)
		for range catalogs {
			found[<-ids] = true
		}
		return found
	}
	ask()
	require.Len(t, ask(), 1)
}
