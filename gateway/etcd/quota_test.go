package etcd_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// TestFullNamespace fills a namespace as an etcd is filled: writes are refused, the
// alarm is on, deletions pass, and then it goes by itself. Others notice nothing.
func TestFullNamespace(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]*flotillav1.Limits{
		"bytes": {StoredBytesMax: 8}, "keys": {KeysMax: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, etcd.Config{})
			conn := dial(t, s.address)
			kv, maintenance := pb.NewKVClient(conn), pb.NewMaintenanceClient(conn)
			full, other := as(t.Context(), s.newTenant("full")), as(t.Context(), s.newTenant("other"))
			_, err := s.catalog.SetTenantLimits(t.Context(), "full", catalog.TenantLimits{Own: limits})
			require.NoError(t, err)
			put := func(ctx context.Context, key string) error {
				_, err := kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte("123")})
				return rpctypes.Error(err)
			}
			alarms := func(ctx context.Context) []*pb.AlarmMember {
				answer, err := maintenance.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET})
				require.NoError(t, err)
				return answer.GetAlarms()
			}
			require.NoError(t, put(full, "a"))
			require.Empty(t, alarms(full))
			require.NoError(t, put(full, "b"))
			require.Equal(t, rpctypes.ErrNoSpace, put(full, "c"))
			_, err = kv.Txn(full, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
				RequestPut: &pb.PutRequest{Key: []byte("c"), Value: []byte("1")},
			}}}})
			require.Equal(t, rpctypes.ErrNoSpace, rpctypes.Error(err))

			on := alarms(full)
			require.Len(t, on, 1)
			require.Equal(t, pb.AlarmType_NOSPACE, on[0].GetAlarm())
			status, err := maintenance.Status(full, new(pb.StatusRequest))
			require.NoError(t, err)
			require.EqualValues(t, 8, status.GetDbSize())
			if limits.GetStoredBytesMax() > 0 {
				require.EqualValues(t, limits.GetStoredBytesMax(), status.GetDbSizeQuota())
			}
			require.Len(t, status.GetErrors(), 1)
			require.Contains(t, status.GetErrors()[0], "NOSPACE")
			require.Empty(t, alarms(other), "it is one namespace's")
			require.NoError(t, put(other, "a"))

			_, err = maintenance.Alarm(full, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE})
			require.NoError(t, err)
			require.Len(t, alarms(full), 1, "it is on while it is so")
			_, err = kv.DeleteRange(full, &pb.DeleteRangeRequest{Key: []byte("a")})
			require.NoError(t, err)
			require.Empty(t, alarms(full))
			require.NoError(t, put(full, "c"))
		})
	}
}
