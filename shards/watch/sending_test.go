package watch_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// Callers that take one answer and then nothing hold no more than the tenant's
// bound, however many they are, whether what they hold was live or was read for
// each of them. When they are gone, or take more, the others go on. The test is
// not parallel, because it measures the whole process.
//
//nolint:paralleltest // see above
func TestUnreadStreamsHoldNoMoreThanTheTenantsBound(t *testing.T) {
	const streams, events, valueBytes, bound = 300, 4, 128 << 10, 4 << 20
	for _, test := range []struct {
		name   string
		live   bool
		prevKV bool
	}{{"live", true, false}, {"live, with the versions before", true, true}, {"history", false, false}, {"history, with the versions before", false, true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShard(t, watch.Config{SendingBytesMax: bound, TenantBytesMax: bound})
				write := func() {
					for i := range events {
						s.put(fmt.Sprint("k", i), strings.Repeat("v", valueBytes))
						synctest.Wait()
					}
				}
				write()
				from := s.state.Revision + 1
				if !test.live {
					write()
				}
				clients := make([]*client, streams)
				for i := range clients {
					clients[i] = newClient(t, s, watch.StreamConfig{})
					spec := prefixSpec("")
					spec.From, spec.PrevKV = from, test.prevKV
					clients[i].create(spec)
					clients[i].next()
				}
				if test.live {
					write()
				}
				before := heapBytes()
				errs := make(chan error, streams)
				goOn := make(chan struct{})
				var read sync.WaitGroup
				for _, c := range clients {
					read.Go(func() {
						var answers []watch.Answer
						for seen := 0; seen < events; {
							var err error
							if answers, err = c.Next(t.Context(), answers[:0]); err != nil {
								errs <- err
								return
							}
							for _, a := range answers {
								seen += len(a.Events)
							}
							<-goOn // which is how long it takes to send them
							runtime.KeepAlive(answers)
						}
						c.Close()
					})
				}
				synctest.Wait()
				grown := int64(heapBytes()) - int64(before)
				t.Logf("%d MiB for %d streams", grown>>20, streams)
				require.Less(t, grown, int64(2*bound+16*valueBytes))
				require.Greater(t, s.accounts.SendingBytes(), int64(bound), "some wait")
				close(goOn)
				read.Wait()
				require.Empty(t, errs)
				require.Zero(t, s.accounts.SendingBytes())
				require.Zero(t, s.accounts.Watches())
			})
		})
	}
}

// A tenant has so many streams of watches on a node; one without watches does
// not count.
func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	s := newShard(t, watch.Config{})
	owner := watch.Owner{Tenant: "t", Namespace: testNamespace, StreamsMax: 2}
	one, two, three := newClient(t, s, watch.StreamConfig{}), newClient(t, s, watch.StreamConfig{}), newClient(t, s, watch.StreamConfig{})
	for _, c := range []*client{one, two, two} {
		require.NoError(t, c.Create(s.hub, owner, keySpec("a")))
	}
	var quota *tenancy.QuotaError
	require.ErrorAs(t, three.Create(s.hub, owner, keySpec("a")), &quota)
	require.Equal(t, &tenancy.QuotaError{Limit: "watch_streams_max", Value: 2}, quota)
	require.Zero(t, three.Watches())
	other := owner
	other.Tenant = "u"
	require.NoError(t, newClient(t, s, watch.StreamConfig{}).Create(s.hub, other, keySpec("a")), "each tenant has its own")

	one.Cancel(1)
	require.ErrorAs(t, three.Create(s.hub, owner, keySpec("a")), &quota, "it is a stream still")
	one.Close()
	require.NoError(t, three.Create(s.hub, owner, keySpec("a")))
}

// A large deletion does not end a watch that asked for the versions before.
func TestALargeDeletionWithTheVersionsBefore(t *testing.T) {
	t.Parallel()
	const keys, valueBytes = 20, 1 << 20
	for _, test := range []struct {
		name           string
		live, fragment bool
		want           int // versions before
	}{
		{"live", true, false, 16},
		{"live, in fragments", true, true, keys},
		{"from history", false, false, 16},
		{"from history, in fragments", false, true, keys},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newShard(t, watch.Config{})
			for i := range keys {
				s.put(fmt.Sprintf("k%02d", i), strings.Repeat("v", valueBytes))
			}
			c := newClient(t, s, watch.StreamConfig{})
			spec := prefixSpec("")
			spec.From, spec.PrevKV, spec.Fragment = s.state.Revision+1, true, test.fragment
			if test.live {
				c.create(spec)
			}
			s.delete("k")
			deleted := s.state.Revision
			s.put("k00", "after")
			if !test.live {
				c.create(spec)
			}
			events, previous := 0, 0
			for last := deleted; last <= deleted; {
				answers, err := c.Next(t.Context(), nil)
				require.NoError(t, err)
				for _, a := range answers {
					require.False(t, a.Canceled, "%v", a.Err)
					for _, e := range a.Events {
						if last = e.Revision; last > deleted {
							require.Nil(t, e.PrevKV())
							continue
						}
						require.Equal(t, fmt.Sprintf("k%02d", events), string(e.Key))
						if events++; e.PrevKV() != nil {
							require.Len(t, e.PrevKV().GetValue(), valueBytes)
							previous++
						}
					}
				}
			}
			require.Equal(t, keys, events)
			require.Equal(t, test.want, previous)
		})
	}
}
