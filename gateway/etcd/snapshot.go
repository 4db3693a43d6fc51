package etcd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/flotillakv/flotilla/shards"
)

const (
	// snapshotPattern names the files of snapshots that are made ready.
	snapshotPattern = "etcd-snapshot-*.db"
	// snapshotsMax bounds the snapshots that a node makes at the same time:
	// each takes disk, and reads a whole namespace.
	snapshotsMax = 2
	// snapshotPartBytes is how much of a snapshot is sent at once.
	snapshotPartBytes = 64 << 10
)

// Snapshot implements Maintenance: the namespace at its newest revision, as a
// database file of etcd followed by its SHA-256. It holds the keys that exist
// and the leases, and no history: an etcd that is restored from it is compacted
// at that revision.
func (s *maintenanceServer) Snapshot(_ *pb.SnapshotRequest, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	select {
	case s.snapshots <- struct{}{}:
		defer func() { <-s.snapshots }()
	default:
		return rpctypes.ErrGRPCRequestTooManyRequests
	}
	if s.node.ReadOnly() {
		return shards.ErrDiskFull
	}
	file, revision, err := s.makeSnapshot(stream.Context(), callerFrom(stream.Context()))
	if err != nil {
		return err
	}
	defer file.Close()
	return s.sendSnapshot(stream, file, revision)
}

// makeSnapshot writes the database. Its file has no name any more.
func (s *maintenanceServer) makeSnapshot(ctx context.Context, c *caller) (_ *os.File, revision uint64, err error) {
	temporary, err := os.CreateTemp(s.cfg.TempDir, snapshotPattern)
	if err != nil {
		return nil, 0, fmt.Errorf("make a snapshot: %w", err)
	}
	path := temporary.Name()
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	if err := temporary.Close(); err != nil {
		return nil, 0, fmt.Errorf("make a snapshot: %w", err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoGrowSync: true})
	if err != nil {
		return nil, 0, fmt.Errorf("make a snapshot: %w", err)
	}
	w := &snapshotWriter{Server: s.Server, db: db, caller: c}
	err = errors.Join(w.write(ctx), db.Close())
	if err != nil {
		return nil, 0, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read a snapshot: %w", err)
	}
	return file, w.revision, nil
}

func (s *maintenanceServer) sendSnapshot(stream grpc.ServerStreamingServer[pb.SnapshotResponse], file *os.File, revision uint64) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read a snapshot: %w", err)
	}
	header := s.header(callerFrom(stream.Context()), revision)
	left, sum := info.Size(), sha256.New()
	for left > 0 {
		// Send keeps the part for a while, so each is a new one.
		part := make([]byte, min(left, snapshotPartBytes))
		if _, err := io.ReadFull(file, part); err != nil {
			return fmt.Errorf("read a snapshot: %w", err)
		}
		left -= int64(len(part))
		_, _ = sum.Write(part)
		err := stream.Send(&pb.SnapshotResponse{Header: header, RemainingBytes: uint64(left), Blob: part, Version: storageVersion})
		if err != nil {
			return err
		}
	}
	return stream.Send(&pb.SnapshotResponse{Header: header, Blob: sum.Sum(nil), Version: storageVersion})
}

// removeSnapshots removes what a node left behind that ended while it made a
// snapshot.
func removeSnapshots(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, snapshotPattern))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}
