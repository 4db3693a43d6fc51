package etcd_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/etcd"
	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// TestSnapshotHasTheLeasesOfItsKeys takes snapshots, each in many pages, while
// leases with keys come and go. A key whose lease is missing would stay for
// ever in what is restored.
func TestSnapshotHasTheLeasesOfItsKeys(t *testing.T) {
	t.Parallel()
	s := serve(t, etcd.Config{})
	conn := dial(t, s.address)
	ctx, stop := context.WithCancel(as(t.Context(), s.newTenant("tenant")))
	_, err := s.catalog.SetTenantLimits(t.Context(), "tenant", catalog.TenantLimits{Own: &flotillav1.Limits{RangeKeysMax: 4}})
	require.NoError(t, err)
	fill(ctx, t, conn, 200, 1)
	var churning sync.WaitGroup
	for i := range 4 {
		churning.Go(func() {
			for ctx.Err() == nil {
				if err := attachAndRevoke(ctx, pb.NewLeaseClient(conn), pb.NewKVClient(conn), i); err != nil && ctx.Err() == nil {
					t.Errorf("attach and revoke: %v", err)
					return
				}
			}
		})
	}
	defer churning.Wait()
	defer stop()
	attached := 0
	for range 20 {
		attached += checkLeases(t, takeSnapshot(ctx, t, pb.NewMaintenanceClient(conn)))
	}
	require.NotZero(t, attached, "some snapshot has keys with leases")
}

// attachAndRevoke grants a lease, puts keys with it at both ends of the
// namespace, and revokes it.
func attachAndRevoke(ctx context.Context, leases pb.LeaseClient, kv pb.KVClient, who int) error {
	granted, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 60})
	if err != nil {
		return err
	}
	for _, end := range []string{"a", "z"} {
		if _, err := kv.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "%s%d", end, who), Lease: granted.GetID()}); err != nil {
			return err
		}
	}
	_, err = leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: granted.GetID()})
	return err
}

// takeSnapshot returns the path of the database.
func takeSnapshot(ctx context.Context, t *testing.T, client pb.MaintenanceClient) string {
	t.Helper()
	stream, err := client.Snapshot(ctx, new(pb.SnapshotRequest))
	require.NoError(t, err)
	var database []byte
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		database = append(database, part.GetBlob()...)
	}
	path := filepath.Join(t.TempDir(), "snapshot.db")
	require.NoError(t, os.WriteFile(path, database, 0o600))
	return path
}

// checkLeases requires that all leases of keys are there, and returns how many
// keys have one.
func checkLeases(t *testing.T, path string) (attached int) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("key")).ForEach(func(_, encoded []byte) error {
			kv := new(mvccpb.KeyValue)
			if err := proto.Unmarshal(encoded, kv); err != nil || kv.GetLease() == 0 {
				return err
			}
			attached++
			id := binary.BigEndian.AppendUint64(nil, uint64(kv.GetLease()))
			if tx.Bucket([]byte("lease")).Get(id) == nil {
				return fmt.Errorf("%s has lease %d, which is missing", kv.GetKey(), kv.GetLease())
			}
			return nil
		})
	}))
	return attached
}
