package e2e

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/tests/process"
)

// TestEtcdHashes hashes a namespace at several revisions: what is readable at a
// revision, and nothing else, decides the hash.
func TestEtcdHashes(t *testing.T) {
	t.Parallel()
	conn := dialEtcd(t, process.Dev(t).Info.EtcdURL)
	kv, maintenance := pb.NewKVClient(conn), pb.NewMaintenanceClient(conn)
	hash := func(revision int64) uint32 {
		answer, err := maintenance.HashKV(t.Context(), &pb.HashKVRequest{Revision: revision})
		require.NoError(t, err)
		return answer.GetHash()
	}
	put := func(value string) int64 {
		answer, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k"), Value: []byte(value)})
		require.NoError(t, err)
		return answer.GetHeader().GetRevision()
	}
	first := put("1")
	before := hash(0)
	second := put("2")
	require.NotEqual(t, before, hash(0))
	require.Equal(t, before, hash(first))
	newest, err := maintenance.Hash(t.Context(), new(pb.HashRequest))
	require.NoError(t, err)
	require.Equal(t, hash(second), newest.GetHash())

	answer, err := maintenance.HashKV(t.Context(), new(pb.HashKVRequest))
	require.NoError(t, err)
	require.EqualValues(t, -1, answer.GetCompactRevision())
	_, err = kv.Compact(t.Context(), &pb.CompactionRequest{Revision: second})
	require.NoError(t, err)
	_, err = maintenance.HashKV(t.Context(), &pb.HashKVRequest{Revision: first})
	require.Equal(t, rpctypes.ErrCompacted, rpctypes.Error(err))
	_, err = maintenance.HashKV(t.Context(), &pb.HashKVRequest{Revision: second + 1})
	require.Equal(t, rpctypes.ErrFutureRev, rpctypes.Error(err))
}

// TestEtcdSnapshotLeavesNothing takes a snapshot and looks for its file.
func TestEtcdSnapshotLeavesNothing(t *testing.T) {
	t.Parallel()
	dev := process.Dev(t)
	stream, err := pb.NewMaintenanceClient(dialEtcd(t, dev.Info.EtcdURL)).Snapshot(t.Context(), new(pb.SnapshotRequest))
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	left, err := filepath.Glob(filepath.Join(dev.DataDir, "*snapshot*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestEtcdRefusals asks for what the platform's operators do.
func TestEtcdRefusals(t *testing.T) {
	t.Parallel()
	conn := dialEtcd(t, process.Dev(t).Info.EtcdURL)
	ctx := t.Context()
	cluster, maintenance := pb.NewClusterClient(conn), pb.NewMaintenanceClient(conn)
	for name, ask := range map[string]func() error{
		"MemberAdd":     func() error { _, err := cluster.MemberAdd(ctx, new(pb.MemberAddRequest)); return err },
		"MemberRemove":  func() error { _, err := cluster.MemberRemove(ctx, new(pb.MemberRemoveRequest)); return err },
		"MemberUpdate":  func() error { _, err := cluster.MemberUpdate(ctx, new(pb.MemberUpdateRequest)); return err },
		"MemberPromote": func() error { _, err := cluster.MemberPromote(ctx, new(pb.MemberPromoteRequest)); return err },
		"MoveLeader":    func() error { _, err := maintenance.MoveLeader(ctx, new(pb.MoveLeaderRequest)); return err },
		"Downgrade":     func() error { _, err := maintenance.Downgrade(ctx, new(pb.DowngradeRequest)); return err },
		"Alarm": func() error {
			_, err := maintenance.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE})
			return err
		},
	} {
		err := ask()
		require.Equal(t, codes.Unimplemented, status.Code(err), name)
		require.Contains(t, status.Convert(err).Message(), "flotilla: ", name)
	}
	members, err := cluster.MemberList(ctx, new(pb.MemberListRequest))
	require.NoError(t, err)
	require.Len(t, members.GetMembers(), 1)
	require.Equal(t, members.GetHeader().GetMemberId(), members.GetMembers()[0].GetID())
}

// TestEtcdAdvertised names the node by another name than its listener has.
func TestEtcdAdvertised(t *testing.T) {
	t.Parallel()
	url := process.Dev(t, "--advertise-etcd", "localhost:0").Info.EtcdURL
	require.Regexp(t, `^http://localhost:[1-9][0-9]*$`, url)
	members, err := pb.NewClusterClient(dialEtcd(t, url)).MemberList(t.Context(), new(pb.MemberListRequest))
	require.NoError(t, err)
	require.Equal(t, []string{url}, members.GetMembers()[0].GetClientURLs())
}
