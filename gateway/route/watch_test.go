package route_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// A watch reads all of its keys, so all must be allowed. What is refused is
// answered on the stream, which goes on.
func TestWhoMayWatch(t *testing.T) {
	t.Parallel()
	watching := tenancy.Permissions{{Actions: tenancy.ActionWatch, Namespace: "default", Prefix: []byte("mine/")}}
	read := tenancy.Permissions{{Actions: tenancy.ActionRead}}
	write := tenancy.Permissions{{Actions: tenancy.ActionWrite}}
	onKey := func(key string) *flotillav1.WatchCreate {
		return &flotillav1.WatchCreate{WatchId: 3, Target: &flotillav1.WatchCreate_Key{Key: []byte(key)}}
	}
	onRange := func(r *flotillav1.KeyRange) *flotillav1.WatchCreate {
		return &flotillav1.WatchCreate{WatchId: 3, Target: &flotillav1.WatchCreate_Range{Range: r}}
	}
	elsewhere := onKey("mine/a")
	elsewhere.Namespace = "other"
	allowed := errors.New("not used") // as far as the shard
	for _, test := range []struct {
		name        string
		permissions tenancy.Permissions
		create      *flotillav1.WatchCreate
		want        error
	}{
		{"an allowed key", watching, onKey("mine/a"), allowed},
		{"another key", watching, onKey("yours/a"), tenancy.ErrPermissionDenied},
		{"the allowed prefix", watching, onRange(&flotillav1.KeyRange{Prefix: []byte("mine/")}), allowed},
		{"a wider prefix", watching, onRange(&flotillav1.KeyRange{Prefix: []byte("mine")}), tenancy.ErrPermissionDenied},
		{"everything", watching, onRange(&flotillav1.KeyRange{}), tenancy.ErrPermissionDenied},
		{"another namespace", watching, elsewhere, tenancy.ErrPermissionDenied},
		{"who may only read", read, onKey("mine/a"), tenancy.ErrPermissionDenied},
		{"who may only write", write, onKey("mine/a"), tenancy.ErrPermissionDenied},
		{"a namespace that is not there", tenancy.FullAccess(), elsewhere, tenancy.ErrNamespaceNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			watches := newKV(&fakeHost{}).NewWatches(t.Context(), watch.StreamConfig{})
			defer watches.Close()
			watches.Create(asTenant(t.Context(), test.permissions), test.create)
			answers, err := watches.Next(t.Context(), nil)
			require.NoError(t, err)
			require.Len(t, answers, 1)
			require.True(t, answers[0].Created && answers[0].Canceled)
			require.Equal(t, int64(3), answers[0].WatchID)
			require.ErrorContains(t, answers[0].Err, test.want.Error())
		})
	}
}

func TestNobodyMayNotWatch(t *testing.T) {
	t.Parallel()
	watches := newKV(&fakeHost{}).NewWatches(t.Context(), watch.StreamConfig{})
	defer watches.Close()
	require.ErrorIs(t, watches.CreateOne(context.WithoutCancel(t.Context()), &flotillav1.WatchCreate{}), tenancy.ErrUnauthenticated)
	var invalid *mvcc.InvalidError
	require.ErrorAs(t, watches.CreateOne(asTenant(t.Context(), tenancy.FullAccess()), &flotillav1.WatchCreate{}), &invalid)
	require.Equal(t, "target", invalid.Field)
}

func TestOpenWatchesEndTogether(t *testing.T) {
	t.Parallel()
	kv := newKV(&fakeHost{})
	var open route.OpenWatches
	early, gone, late := kv.NewWatches(t.Context(), watch.StreamConfig{}), kv.NewWatches(t.Context(), watch.StreamConfig{}), kv.NewWatches(t.Context(), watch.StreamConfig{})
	open.Add(early)
	open.Add(gone)()
	why := errors.New("the node is stopping")
	open.End(why)
	open.Add(late)
	for _, w := range []*route.Watches{early, late} {
		_, err := w.Next(t.Context(), nil)
		require.ErrorIs(t, err, why)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := gone.Next(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
}
