package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// TestUsageIsWhatWasUsed has a client count what it does at three nodes, and compares
// that with what the tenant is told: it is the same, but for the last seconds of a
// node that is killed.
func TestUsageIsWhatWasUsed(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	clients := nodeClients(c)
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
	// told asks a node until it tells of so much: what the others count comes every ten
	// seconds, or later if they are busy. No node tells of more requests than most.
	told := func(node int, least *flotillav1.Usage, most uint64) *flotillav1.Usage {
		tenant := tenantsAt(c, node, c.Info.APIKey)
		for deadline := time.Now().Add(time.Minute); ; <-time.After(50 * time.Millisecond) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			usage, err := tenant.GetUsage(ctx, &flotillav1.GetUsageRequest{})
			cancel()
			require.LessOrEqual(t, usage.GetTotal().GetRequests(), most, "more than was used")
			if err == nil && asMuch(usage.GetTotal(), least) {
				return usage.GetTotal()
			}
			require.True(t, time.Now().Before(deadline), "%v, %v instead of %v", err, usage, least)
		}
	}
	requests := func(n uint64) *flotillav1.Usage { return &flotillav1.Usage{Requests: n} }
	const times = 100
	for node := range clients {
		require.Zero(t, use(node, times))
	}
	<-time.After(time.Second) // for so long a node that is asked relies on what it wrote before
	require.GreaterOrEqual(t, told(0, requests(0), counted.GetRequests()).GetRequests(), uint64(2*times), "that of the node that is asked is fresh")
	before := told(0, &counted, counted.GetRequests())
	require.Equal(t, counted.GetRequests(), before.GetRequests(), "every request, once")
	require.Equal(t, counted.GetReadUnits(), before.GetReadUnits())
	require.Equal(t, counted.GetWriteUnits(), before.GetWriteUnits())
	require.Equal(t, counted.GetBytesIn(), before.GetBytesIn())
	require.Equal(t, counted.GetBytesOut(), before.GetBytesOut())
	require.Positive(t, before.GetStoredByteSeconds())

	// What a node counts after its last flush is lost with it, and nothing else.
	require.Zero(t, use(1, times))
	lost := uint64(2 * times)
	c.Nodes[1].Kill(t)
	// That is known now, and the other nodes have used nothing since.
	kept := told(0, requests(counted.GetRequests()-lost), counted.GetRequests()).GetRequests()
	sure := counted.GetRequests()
	unsure := use(0, times) + use(2, times)
	c.Nodes[1].Start(t)
	unsure += use(1, times)
	sure = counted.GetRequests() - sure
	for _, node := range []int{1, 2} { // who is asked does not wait to tell what it counts
		told(node, requests(0), counted.GetRequests()+2*unsure)
	}
	after := told(0, requests(kept+sure), counted.GetRequests()+2*unsure)
	t.Logf("%d requests counted here, %d told, %d unsure", counted.GetRequests(), after.GetRequests(), unsure)

	// A stop loses nothing.
	require.Zero(t, use(2, times))
	c.Nodes[2].Stop(t)
	stopped := told(0, requests(0), counted.GetRequests()+2*unsure).GetRequests()
	require.GreaterOrEqual(t, stopped, after.GetRequests()+2*times)
	require.LessOrEqual(t, stopped, kept+sure+2*unsure+2*times)
}

// asMuch tells whether no less was used of anything that a client can count.
func asMuch(used, least *flotillav1.Usage) bool {
	return used.GetRequests() >= least.GetRequests() &&
		used.GetReadUnits() >= least.GetReadUnits() && used.GetWriteUnits() >= least.GetWriteUnits() &&
		used.GetBytesIn() >= least.GetBytesIn() && used.GetBytesOut() >= least.GetBytesOut()
}
