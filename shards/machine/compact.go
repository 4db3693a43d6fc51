package machine

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// AgeBucketMS is how finely the age of revisions is known, in milliseconds.
const AgeBucketMS = 5 * 60 * 1000

// compact drops a namespace's old revisions at once for readers; their rows
// are purged in slices, which the shard's list of purges remembers.
func compact(s *scope, req *flotillav1.CompactRequest) (*flotillav1.CompactResponse, error) {
	response, err := mvcc.Compact(&s.ns.state, req)
	if err != nil {
		return nil, err
	}
	return response, s.m.listPurge(s.batch, s.id)
}

func (m *Machine) listPurge(b Batch, id tenancy.NamespaceID) error {
	if err := b.SetRow(TablePurges, shardRows, namespaceKey(id), nil); err != nil {
		return fmt.Errorf("list a purge: %w", err)
	}
	return nil
}

// purgeSlice purges the namespaces on the list, from the lowest id, until
// enough events were visited.
func (m *Machine) purgeSlice(b Batch, req *internalv1.PurgeSlice) (proto.Message, error) {
	response := &internalv1.PurgeSliceResponse{}
	budget := int(req.GetEventsMax())
	for budget > 0 {
		key, ok, err := firstRow(b, TablePurges)
		if err != nil {
			return nil, err
		}
		if !ok {
			return response, nil
		}
		id := tenancy.NamespaceID(binary.BigEndian.Uint64(key))
		ns, err := m.namespaces.get(b, id)
		if err != nil {
			return nil, err
		}
		result, err := mvcc.Purge(b.Namespace(id), &ns.state, budget)
		if err != nil {
			return nil, fmt.Errorf("purge: %w", err)
		}
		m.namespaces.touch(ns)
		response.Purged += uint64(result.Versions)
		budget -= max(result.Events, 1)
		if result.Done {
			if err := b.DeleteRow(TablePurges, shardRows, key); err != nil {
				return nil, fmt.Errorf("end a purge: %w", err)
			}
		}
	}
	_, more, err := firstRow(b, TablePurges)
	response.More = more
	return response, err
}

// noteAge remembers, at a namespace's first write in an age bucket, which
// revision it had before: compacting to it keeps all that was readable since.
func (m *Machine) noteAge(b Batch, id tenancy.NamespaceID, ns *namespace, before mvcc.Revision) error {
	bucket := m.Now() / AgeBucketMS
	if bucket == ns.ageBucket {
		return nil
	}
	ns.ageBucket = bucket
	return m.setAge(b, bucket, id, before)
}

func (m *Machine) setAge(b Batch, bucket uint64, id tenancy.NamespaceID, revision mvcc.Revision) error {
	key := AppendAgeKey(nil, bucket, id)
	if err := b.SetRow(TableAges, shardRows, key, binary.AppendUvarint(nil, uint64(revision))); err != nil {
		return fmt.Errorf("note a revision's age: %w", err)
	}
	return nil
}

// AppendAgeKey appends the key of a row of TableAges: bucket and namespace id,
// big endian.
func AppendAgeKey(dst []byte, bucket uint64, id tenancy.NamespaceID) []byte {
	dst = binary.BigEndian.AppendUint64(dst, bucket)
	return binary.BigEndian.AppendUint64(dst, uint64(id))
}

// compactAged compacts the namespaces that wrote in buckets that ended before
// a moment. A namespace that has not written since gets one row more, in the
// next bucket, so that its last revisions' history goes too.
func (m *Machine) compactAged(b Batch, req *internalv1.CompactAged) (proto.Message, error) {
	response := &internalv1.CompactAgedResponse{}
	end := AppendAgeKey(nil, req.GetBeforeMs()/AgeBucketMS, 0)
	for range req.GetNamespacesMax() {
		key, value, ok, err := firstRowIn(b, TableAges, end)
		if err != nil {
			return nil, err
		}
		if !ok {
			return response, nil
		}
		revision, n := binary.Uvarint(value)
		if n <= 0 || len(key) != 16 {
			return nil, fmt.Errorf("a row of ages is malformed")
		}
		bucket, id := binary.BigEndian.Uint64(key), tenancy.NamespaceID(binary.BigEndian.Uint64(key[8:]))
		if err := b.DeleteRow(TableAges, shardRows, key); err != nil {
			return nil, fmt.Errorf("drop a row of ages: %w", err)
		}
		if err := m.compactTo(b, id, bucket, mvcc.Revision(revision)); err != nil {
			return nil, err
		}
		response.Compacted++
	}
	_, _, more, err := firstRowIn(b, TableAges, end)
	response.More = more
	return response, err
}

func (m *Machine) compactTo(b Batch, id tenancy.NamespaceID, bucket uint64, revision mvcc.Revision) error {
	ns, err := m.namespaces.get(b, id)
	if err != nil || ns.drop != nil {
		return err
	}
	if ns.ageBucket == bucket && revision < ns.state.Revision {
		if err := m.setAge(b, bucket+1, id, ns.state.Revision); err != nil {
			return err
		}
	}
	_, err = mvcc.Compact(&ns.state, &flotillav1.CompactRequest{Revision: uint64(revision)})
	if mvcc.IsRefusal(err) { // compacted further already, by a caller
		return nil
	}
	if err != nil {
		return err
	}
	m.namespaces.touch(ns)
	return m.listPurge(b, id)
}

func namespaceKey(id tenancy.NamespaceID) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 8), uint64(id))
}

// firstRow returns the key of a table's first row.
func firstRow(b Batch, table Table) (key []byte, ok bool, err error) {
	key, _, ok, err = firstRowIn(b, table, nil)
	return key, ok, err
}

// firstRowIn returns a copy of the first row of the shard's table before end.
func firstRowIn(b Batch, table Table, end []byte) (key, value []byte, ok bool, err error) {
	it := b.Rows(table, shardRows, nil, end)
	if ok = it.Next(); ok {
		key = append(key, it.Key()...)
		v, err := it.Value()
		if err != nil {
			return nil, nil, false, errJoinClose(it, err)
		}
		value = append(value, v...)
	}
	return key, value, ok, it.Close()
}

// errJoinClose ends an iteration that an error cut short.
func errJoinClose(it RowIterator, err error) error {
	if closeErr := it.Close(); closeErr != nil {
		return fmt.Errorf("%w (and closing: %w)", err, closeErr)
	}
	return err
}
