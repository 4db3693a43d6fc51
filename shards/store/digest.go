package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/cockroachdb/pebble/v2"
)

// Hash is the SHA-256 of all rows in order, each as it is in a snapshot (see
// appendStreamRow). Equal data has equal hashes, on any shard of any node (R4).
type Hash [sha256.Size]byte

// String is the hash in hexadecimal.
func (h Hash) String() string { return fmt.Sprintf("%x", h[:]) }

// Hash reads all of the shard's data.
func (sh *Shard) Hash() (Hash, error) {
	if err := sh.store.acquire(); err != nil {
		return Hash{}, err
	}
	defer sh.store.release()
	d := newDigest()
	var row []byte
	it, err := sh.store.db.NewIter(&pebble.IterOptions{LowerBound: sh.lower, UpperBound: sh.upper})
	if err != nil {
		return Hash{}, fmt.Errorf("hash shard %d: %w", sh.id, err)
	}
	err = eachRow(it, func(key, value []byte) error {
		row = appendStreamRow(row[:0], key, value)
		d.add(row)
		return nil
	})
	if err != nil {
		return Hash{}, fmt.Errorf("hash shard %d: %w", sh.id, err)
	}
	return d.sum(), nil
}

// eachRow visits all rows of an iterator, which it closes. Keys are without
// the shard.
func eachRow(it *pebble.Iterator, visit func(key, value []byte) error) error {
	var err error
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			err = visit(it.Key()[shardBytes:], value)
		}
	}
	if closeErr := it.Close(); err == nil { // also tells why Next ended early
		err = closeErr
	}
	return err
}

// digest sums rows up.
type digest struct {
	hash hash.Hash
	rows uint64
}

func newDigest() *digest { return &digest{hash: sha256.New()} }

// add takes the next row, encoded as in a snapshot.
func (d *digest) add(row []byte) {
	d.rows++
	_, _ = d.hash.Write(row) // never fails
}

func (d *digest) sum() Hash { return Hash(d.hash.Sum(nil)) }

// A row of a snapshot; lengths are uvarints, and the key is without the shard:
//
//	| key length | key | value length | value |
func appendStreamRow(dst, key, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}
