package etcd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/flotillakv/flotilla/gateway/meter"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// snapshotPattern names the files of snapshots that are made ready.
	snapshotPattern = "etcd-snapshot-*.db"
	// snapshotsMax bounds the snapshots that a node makes at the same time:
	// each reads a whole namespace. More wait for their turn.
	snapshotsMax = 2
	// snapshotPartBytes is how much of a snapshot is sent at once.
	snapshotPartBytes = 64 << 10
)

// snapshots are those on their way: one of a tenant at a time, from its making
// until its last part was sent, because it takes disk for so long.
type snapshots struct {
	// making holds a token for each that is made.
	making chan struct{}

	mu   sync.Mutex
	busy map[tenancy.TenantID]struct{}
}

func newSnapshots() *snapshots {
	return &snapshots{making: make(chan struct{}, snapshotsMax), busy: make(map[tenancy.TenantID]struct{})}
}

// begin begins a snapshot of a tenant, or refuses with etcd's "too many
// requests". It lasts until done is called.
func (s *snapshots) begin(tenant tenancy.TenantID) (done func(), _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.busy[tenant]; ok {
		return nil, rpctypes.ErrGRPCRequestTooManyRequests
	}
	s.busy[tenant] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.busy, tenant)
	}, nil
}

// Snapshot implements Maintenance: the namespace at its newest revision, as a
// database file of etcd followed by its SHA-256. It holds the keys that exist
// and the leases, and no history: an etcd that is restored from it is compacted
// at that revision.
func (s *maintenanceServer) Snapshot(_ *pb.SnapshotRequest, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	return s.guard("the snapshot", func(g *guard) error { return s.snapshot(stream, g) })
}

func (s *maintenanceServer) snapshot(stream grpc.ServerStreamingServer[pb.SnapshotResponse], g *guard) error {
	ctx, _ := meter.WithCall(stream.Context())
	c := callerFrom(ctx)
	done, err := s.snapshots.begin(c.principal.Tenant)
	if err != nil {
		return err
	}
	defer done()
	file, revision, err := s.awaitSnapshot(ctx, c)
	if err != nil {
		return err
	}
	defer file.Close()
	return s.sendSnapshot(file, s.header(c, revision), func(part *pb.SnapshotResponse) error { return g.send(stream, part) })
}

// awaitSnapshot makes a snapshot when it is its turn.
func (s *maintenanceServer) awaitSnapshot(ctx context.Context, c *caller) (_ *os.File, revision uint64, err error) {
	select {
	case s.snapshots.making <- struct{}{}:
		defer func() { <-s.snapshots.making }()
	case <-s.stopping:
		return nil, 0, shards.ErrStopping
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	if s.node.ReadOnly() {
		return nil, 0, shards.ErrDiskFull
	}
	return s.makeSnapshot(ctx, c)
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

func (s *maintenanceServer) sendSnapshot(file *os.File, header *pb.ResponseHeader, send func(*pb.SnapshotResponse) error) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read a snapshot: %w", err)
	}
	left, sum := info.Size(), sha256.New()
	for left > 0 {
		// Send keeps the part for a while, so each is a new one.
		part := make([]byte, min(left, snapshotPartBytes))
		if _, err := io.ReadFull(file, part); err != nil {
			return fmt.Errorf("read a snapshot: %w", err)
		}
		left -= int64(len(part))
		_, _ = sum.Write(part)
		err := send(&pb.SnapshotResponse{Header: header, RemainingBytes: uint64(left), Blob: part, Version: storageVersion})
		if err != nil {
			return err
		}
	}
	return send(&pb.SnapshotResponse{Header: header, Blob: sum.Sum(nil), Version: storageVersion})
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
