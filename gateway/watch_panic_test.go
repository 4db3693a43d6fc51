package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/watch"
)

// What reads requests runs on a goroutine that no layer guards.
func TestAPanicOfReadingRequestsEndsOneStream(t *testing.T) {
	t.Parallel()
	watches := route.NewKV(route.NewRouter(route.RouterConfig{}), nil).NewWatches(t.Context(), watch.StreamConfig{})
	defer watches.Close()
	err := receiveWatches(t.Context(), func() (*flotillav1.WatchRequest, error) { panic("out of range") }, watches)
	require.ErrorContains(t, err, "panic: out of range")
	require.ErrorContains(t, err, "watch_panic_test.go", "it tells where")
}
