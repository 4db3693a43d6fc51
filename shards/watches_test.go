package shards_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// watchAll watches a namespace of the data shard from a revision on.
func (n *node) watchAll(ns tenancy.NamespaceID, spec watch.Spec) *watch.Stream {
	n.t.Helper()
	hub, err := n.host.Watches(dataShard)
	require.NoError(n.t, err)
	stream := watch.NewStream(watch.StreamConfig{})
	n.t.Cleanup(stream.Close)
	require.NoError(n.t, stream.Create(hub, watch.Owner{Tenant: "tenant", Namespace: ns}, spec))
	return stream
}

// events takes answers until there are so many events.
func (n *node) events(stream *watch.Stream, count int) []string {
	n.t.Helper()
	var seen []string
	for len(seen) < count {
		answers, err := stream.Next(n.t.Context(), nil)
		require.NoError(n.t, err)
		for _, a := range answers {
			for _, e := range a.Events {
				text := string(e.Key) + "=" + string(e.Version.Value)
				if kv := e.PrevKV(); kv != nil {
					text += " was " + string(kv.GetValue())
				}
				seen = append(seen, text)
			}
		}
	}
	return seen
}

func TestWatchesShowTheirNamespaceOnly(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	n.put(10, "a", "1")
	stream := n.watchAll(10, watch.Spec{PrevKV: true})
	n.put(11, "a", "other")
	n.put(10, "a", "2")
	n.put(10, "b", "3")
	require.Equal(t, []string{"a=2 was 1", "b=3"}, n.events(stream, 2))

	_, err := n.host.Watches(77)
	require.ErrorIs(t, err, shards.ErrShardNotFound)
}

func TestWatchesEndWithTheHostAndGoOnInTheNextOne(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	stream := n.watchAll(10, watch.Spec{})
	n.put(10, "a", "1")
	require.Equal(t, []string{"a=1"}, n.events(stream, 1))
	n.stop()
	answers, err := stream.Next(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, answers, 1)
	require.ErrorIs(t, answers[0].Err, shards.ErrStopping)
	require.Equal(t, uint64(3), uint64(answers[0].Resume))

	n.start()
	n.put(10, "a", "2")
	again := n.watchAll(10, watch.Spec{From: answers[0].Resume})
	n.put(10, "a", "3")
	require.Equal(t, []string{"a=2", "a=3"}, n.events(again, 2))
}

func TestDroppedNamespaceEndsItsWatchesAndAnswersNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t, shards.Config{})
	n.put(10, "a", "1")
	n.put(11, "a", "1")
	live, silent, other := n.watchAll(10, watch.Spec{}), n.watchAll(10, watch.Spec{Start: []byte("z")}), n.watchAll(11, watch.Spec{})
	behind := n.watchAll(10, watch.Spec{From: 1})
	n.put(10, "a", "2")
	require.Equal(t, []string{"a=2"}, n.events(live, 1))

	_, err := n.host.Propose(t.Context(), dataShard, tenancy.SystemTenant, &internalv1.Command{
		NamespaceId: 10, Epoch: 2, Operation: &internalv1.Command_DropNamespaceSlice{
			DropNamespaceSlice: &internalv1.DropNamespaceSlice{RowsMax: 100},
		},
	})
	require.NoError(t, err)
	for _, stream := range []*watch.Stream{live, silent, behind} {
		for ended := false; !ended; {
			answers, err := stream.Next(t.Context(), nil)
			require.NoError(t, err)
			for _, a := range answers {
				if a.Canceled {
					require.ErrorIs(t, a.Err, tenancy.ErrNamespaceNotFound)
					ended = true
				}
			}
		}
	}
	hub, err := n.host.Watches(dataShard)
	require.NoError(t, err)
	late := watch.NewStream(watch.StreamConfig{})
	t.Cleanup(late.Close)
	require.ErrorIs(t, late.Create(hub, watch.Owner{Tenant: "tenant", Namespace: 10}, watch.Spec{From: 1}), tenancy.ErrNamespaceNotFound)

	_, err = n.host.Query(t.Context(), dataShard, 10, shards.Linearizable, &flotillav1.GetRequest{Key: []byte("a")})
	require.ErrorAs(t, err, new(*machine.WrongEpochError))
	n.put(11, "a", "2")
	require.Equal(t, []string{"a=2"}, n.events(other, 1))
}
