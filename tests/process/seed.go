package process

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// Seed is the seed of a random test: FLOTILLA_SEED, or a new one. It is logged
// with the command that runs the test with it again. What callers ask for then
// is the same; how their calls meet is up to the machine.
func Seed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("FLOTILLA_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "FLOTILLA_SEED")
	}
	t.Logf("to run it again: FLOTILLA_SEED=%d go test -count 1 -run '^%s$'", seed, t.Name())
	return seed
}

// Slow is whether tests may take long.
func Slow() bool { return os.Getenv("FLOTILLA_SLOW_TESTS") != "" }
