package route_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/route"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// oneCommand is a host that keeps the last command that it got.
type oneCommand struct {
	fakeHost
	last   internalv1.Command
	weight int
}

func (h *oneCommand) Submit(_ shards.ShardID, call *shards.Call) error {
	h.last.Reset()
	h.weight = call.Weight
	if err := proto.Unmarshal(call.Command, &h.last); err != nil {
		return err
	}
	call.Take()
	call.Done(machine.Result{Err: tenancy.ErrPermissionDenied}) // whatever ends it
	return nil
}

func TestCommandsThatStoreSayHowMuchMayBe(t *testing.T) {
	t.Parallel()
	limited := tenancy.Limits{KeysMax: 3, StoredBytesMax: 40}.WithDefaults()
	for name, c := range map[string]struct {
		level   uint32
		limits  tenancy.Limits
		request route.Request
		bounded bool
	}{
		"put":                             {machine.LevelQuotas, limited, &flotillav1.PutRequest{Key: []byte("k")}, true},
		"transaction":                     {machine.LevelQuotas, limited, &flotillav1.TxnRequest{RequestId: "r"}, true},
		"delete":                          {machine.LevelQuotas, limited, deleteOf("k"), false},
		"compact":                         {machine.LevelQuotas, limited, &flotillav1.CompactRequest{Revision: 1}, false},
		"without a limit":                 {machine.LevelQuotas, tenancy.Limits{}.WithDefaults(), &flotillav1.PutRequest{Key: []byte("k")}, false},
		"older nodes are in the cluster":  {1, limited, &flotillav1.PutRequest{Key: []byte("k")}, false},
		"the level is not known yet":      {0, limited, &flotillav1.PutRequest{Key: []byte("k")}, false},
		"a later level is one with these": {machine.LevelQuotas + 1, limited, &flotillav1.PutRequest{Key: []byte("k")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := &oneCommand{}
			kv := route.NewKV(route.NewRouter(route.RouterConfig{Local: host, Level: func() uint32 { return c.level }}), fakeCatalog{})
			ctx := tenancy.NewContext(t.Context(), &tenancy.Principal{Tenant: "t", Permissions: tenancy.FullAccess(), Limits: c.limits})
			_, err := route.Do[proto.Message](ctx, kv, c.request)
			require.ErrorIs(t, err, tenancy.ErrPermissionDenied)
			require.EqualValues(t, 1024, host.last.GetNamespaceId())
			keys, bytes := uint64(0), uint64(0)
			if c.bounded {
				keys, bytes = 3, 40
			}
			require.Equal(t, keys, host.last.GetKeysMax())
			require.Equal(t, bytes, host.last.GetStoredBytesMax())
			encoded, err := proto.Marshal(&host.last)
			require.NoError(t, err)
			require.Equal(t, c.bounded, machine.LevelOf(encoded) > 1)
		})
	}
}

func deleteOf(key string) *flotillav1.DeleteRequest {
	return &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: []byte(key)}}
}

// A node that has not heard yet that the cluster's level was raised is asked again;
// that nobody knows a command is said at once.
func TestLevelIsRaisedWhileCommandsRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		needs uint32
		again bool
	}{"known to this node": {2, true}, "known to none": {3, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				failed := 0
				f.fail["n2"] = func() error {
					if failed++; failed == 3 {
						f.fail["n2"] = nil
					}
					return &shards.LevelError{Needs: c.needs, Has: 1}
				}
				r := route.NewRouter(route.RouterConfig{
					NodeID: "n1", Local: localNode{f}, Remote: otherNodes{f}, Directory: f, Level: func() uint32 { return 2 },
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				_, err := r.Propose(ctx, 2, "t", putOf(""))
				if c.again {
					require.NoError(t, err)
					require.Equal(t, 3, failed)
					return
				}
				require.ErrorAs(t, err, new(*shards.LevelError))
				require.Equal(t, 1, failed)
			})
		})
	}
}

func TestCommandsHaveTheWeightOfTheirTenant(t *testing.T) {
	t.Parallel()
	host := &oneCommand{}
	router := route.NewRouter(route.RouterConfig{Local: host})
	kv := route.NewKV(router, fakeCatalog{})
	for set, want := range map[int]int{0: 1, 1: 1, 5: 5} {
		ctx := tenancy.NewContext(t.Context(), &tenancy.Principal{
			Tenant: "t", Permissions: tenancy.FullAccess(), Limits: tenancy.Limits{}.WithDefaults(), Weight: set,
		})
		_, err := route.Do[proto.Message](ctx, kv, &flotillav1.PutRequest{Key: []byte("k")})
		require.ErrorIs(t, err, tenancy.ErrPermissionDenied)
		require.Equal(t, want, host.weight)

		host.weight = -1
		p := kv.NewPipeline(time.Second, func(*flotillav1.Operation, proto.Message, error) {}, func(context.Context) error { return nil })
		p.Start(ctx, []*flotillav1.Operation{put(1, "a")})
		p.Wait()
		require.Equal(t, want, host.weight)

		_, err = router.Propose(ctx, 2, tenancy.SystemTenant, putOf(""))
		require.ErrorIs(t, err, tenancy.ErrPermissionDenied)
		require.Zero(t, host.weight, "what the platform does for a tenant is not in the tenant's line")
	}
}
