package intercept_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/intercept"
)

func TestRecovered(t *testing.T) {
	t.Parallel()
	told := errors.New("told")
	call := func(f func() error) (err error) {
		defer intercept.Recovered(&err)
		return f()
	}
	require.NoError(t, call(func() error { return nil }))
	require.ErrorIs(t, call(func() error { return told }), told)
	none := func() []error { return nil }
	err := call(func() error { return none()[0] })
	require.ErrorContains(t, err, "panic: runtime error: index out of range")
	require.ErrorContains(t, err, "recover_test.go", "where it was")
}
