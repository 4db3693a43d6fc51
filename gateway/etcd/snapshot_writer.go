package etcd

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// A database of etcd, as far as one is restored from it:
//
//	bucket  key                                        value
//	key     revision (8 B) '_' number in it (8 B)      mvccpb.KeyValue
//	lease   id (8 B)                                   leasepb.Lease: 1 id, 2 TTL in seconds
//	meta    scheduledCompactRev, finishedCompactRev    a revision as in bucket key
//	        consistent_index, term                     8 B
//	        storageVersion                             text
//
// All numbers are big-endian. The other buckets are there and empty.
//
//nolint:gochecknoglobals // constants in all but their type
var (
	bucketKey   = []byte("key")
	bucketLease = []byte("lease")
	bucketMeta  = []byte("meta")
	buckets     = [][]byte{
		bucketKey, bucketLease, bucketMeta,
		[]byte("alarm"), []byte("auth"), []byte("authRoles"), []byte("authUsers"),
		[]byte("cluster"), []byte("members"), []byte("members_removed"),
	}
)

// snapshotWriter writes a namespace into a database of etcd.
type snapshotWriter struct {
	*Server
	db     *bolt.DB
	caller *caller
	// revision is the one that is written; set by leases.
	revision uint64
}

func (w *snapshotWriter) write(ctx context.Context) error {
	err := w.db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return fmt.Errorf("write a snapshot: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.leases(ctx); err != nil {
		return err
	}
	if err := w.keys(ctx); err != nil {
		return err
	}
	return w.meta()
}

// keys writes the keys at the revision at which the leases were read, so all
// that have a lease have one of those. Each page is written in a transaction of
// the database of its own.
func (w *snapshotWriter) keys(ctx context.Context) error {
	number := uint64(0)
	return w.kv.Pages(ctx, &flotillav1.RangeRequest{
		Namespace: w.caller.namespace, Revision: w.revision,
	}, func(page *flotillav1.RangeResponse) error {
		return w.put(bucketKey, func(put func(key, value []byte) error) error {
			for _, kv := range page.GetKvs() {
				encoded, err := proto.Marshal(keyValue(kv))
				if err != nil {
					return err
				}
				// No two keys have a number in common, so none of a revision.
				if err := put(revisionKey(kv.GetModRevision(), number), encoded); err != nil {
					return err
				}
				number++
			}
			return nil
		})
	})
}

// leasesAtOnce is how many leases are written in one transaction of the
// database.
const leasesAtOnce = 10_000

func (w *snapshotWriter) leases(ctx context.Context) error {
	leases, err := w.kv.Leases(ctx, w.caller.namespace)
	if err != nil {
		return err
	}
	w.revision = leases.GetRevision()
	ttls := leases.GetTtlSeconds()
	for ids := range slices.Chunk(leases.GetIds(), leasesAtOnce) {
		err := w.put(bucketLease, func(put func(key, value []byte) error) error {
			for i, id := range ids {
				if err := put(uint64Bytes(uint64(id)), encodeLease(id, ttls[i])); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		ttls = ttls[len(ids):]
	}
	return nil
}

func (w *snapshotWriter) meta() error {
	return w.put(bucketMeta, func(put func(key, value []byte) error) error {
		for _, row := range []struct {
			name  string
			value []byte
		}{
			{"scheduledCompactRev", revisionKey(w.revision, 0)},
			{"finishedCompactRev", revisionKey(w.revision, 0)},
			{"consistent_index", uint64Bytes(1)},
			{"term", uint64Bytes(1)},
			{"storageVersion", []byte(storageVersion)},
		} {
			if err := put([]byte(row.name), row.value); err != nil {
				return err
			}
		}
		return nil
	})
}

// put fills a bucket within one transaction of the database.
func (w *snapshotWriter) put(bucket []byte, fill func(put func(key, value []byte) error) error) error {
	err := w.db.Update(func(tx *bolt.Tx) error { return fill(tx.Bucket(bucket).Put) })
	if err != nil {
		return fmt.Errorf("write a snapshot: %w", err)
	}
	return nil
}

func revisionKey(revision, number uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, revision)
	return binary.BigEndian.AppendUint64(append(b, '_'), number)
}

func uint64Bytes(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func encodeLease(id, ttlSeconds int64) []byte {
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(id))
	return protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(ttlSeconds))
}
