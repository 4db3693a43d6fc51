package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tests/process"
)

// TestUsageIsWhatWasUsed has a client count what it does at three nodes, and compares
// that with what the tenant is told: it is the same, but for the last seconds of a
// node that is killed.
func TestUsageIsWhatWasUsed(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	clients := nodeClients(c)
	tenant := flotillav1connect.NewTenantServiceClient(http2Client(), c.APIURLs(0)[0], connect.WithInterceptors(process.Bearer(c.Info.APIKey)))
	var counted flotillav1.Usage
	// use puts and gets 2,000 bytes at a node, as often as said. Of what fails it is
	// not known whether it was counted.
	use := func(node, times int) (unsure uint64) {
		value := make([]byte, 1992)
		for i := range times {
			key := fmt.Appendf(nil, "usage/%02d", i%100)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err := clients[node].Put(ctx, &flotillav1.PutRequest{Key: key, Value: value})
			if err == nil {
				_, err = clients[node].Get(ctx, &flotillav1.GetRequest{Key: key})
			}
			cancel()
			if err != nil {
				unsure++
				continue
			}
			counted.Requests += 2
			counted.WriteUnits += 2
			counted.ReadUnits++
			counted.BytesIn += 2008
			counted.BytesOut += 2000
		}
		return unsure
	}
	told := func() *flotillav1.Usage {
		usage, err := tenant.GetUsage(t.Context(), &flotillav1.GetUsageRequest{})
		require.NoError(t, err)
		return usage.GetTotal()
	}
	const times = 300
	for node := range clients {
		require.Zero(t, use(node, times))
	}
	flushed := time.After(11 * time.Second)
	require.GreaterOrEqual(t, told().GetRequests(), uint64(2*times), "that of the node that is asked is fresh")
	<-flushed
	before := told()
	require.Equal(t, counted.GetRequests(), before.GetRequests(), "every request, once")
	require.Equal(t, counted.GetReadUnits(), before.GetReadUnits())
	require.Equal(t, counted.GetWriteUnits(), before.GetWriteUnits())
	require.Equal(t, counted.GetBytesIn(), before.GetBytesIn())
	require.Equal(t, counted.GetBytesOut(), before.GetBytesOut())
	require.Positive(t, before.GetStoredByteSeconds())

	// What a node counts after its last flush is lost with it, and nothing else.
	use(1, times)
	lost := uint64(2 * times)
	c.Nodes[1].Kill(t)
	unsure := use(0, times) + use(2, times)
	c.Nodes[1].Start(t)
	unsure += use(1, times)
	<-time.After(11 * time.Second)
	after := told()
	t.Logf("%d requests counted here, %d told, %d unsure", counted.GetRequests(), after.GetRequests(), unsure)
	require.LessOrEqual(t, after.GetRequests(), counted.GetRequests()+2*unsure)
	require.GreaterOrEqual(t, after.GetRequests()+lost, counted.GetRequests())

	// A stop loses nothing.
	known := told().GetRequests()
	require.Zero(t, use(2, times))
	c.Nodes[2].Stop(t)
	require.Equal(t, known+2*times, told().GetRequests())
}
