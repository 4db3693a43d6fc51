package mvcc_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

func TestRefusalsAreToldFromFailures(t *testing.T) {
	t.Parallel()
	refusals := []error{
		mvcc.ErrKeyNotFound, mvcc.ErrKeyExists, mvcc.ErrLeaseNotFound, mvcc.ErrFencingTokenStale,
		&mvcc.RevisionMismatchError{}, &mvcc.CompactedError{}, &mvcc.FutureRevisionError{},
		&mvcc.InvalidError{}, &mvcc.TooLargeError{}, &mvcc.DuplicateKeyError{},
	}
	for _, err := range refusals {
		require.True(t, mvcc.IsRefusal(err), "%T", err)
		require.True(t, mvcc.IsRefusal(fmt.Errorf("put: %w", err)), "%T, wrapped", err)
	}
	require.False(t, mvcc.IsRefusal(nil))
	require.False(t, mvcc.IsRefusal(errors.New("disk")))
	require.False(t, mvcc.IsRefusal(mvcc.ErrCorruptVersion))
}

// TestMessages expects messages to say what a caller can act on.
func TestMessages(t *testing.T) {
	t.Parallel()
	require.EqualError(t, &mvcc.TooLargeError{Limit: "key_bytes_max", Value: 5000, Max: 4096}, "5000 is more than the limit key_bytes_max of 4096")
	require.EqualError(t, &mvcc.InvalidError{Field: "key", Message: "must not be empty"}, "key: must not be empty")
}
