package model

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// snapshot is all keys of one revision.
type snapshot map[string]*flotillav1.KeyValue

// Model is one namespace.
type Model struct {
	// Leases are those that exist.
	Leases map[int64]bool
	// Tokens are the fencing tokens of the locks that are held.
	Tokens map[string]uint64
	// KeysMax and BytesMax are how many keys there may be, and bytes of them and
	// their newest values; 0 is no bound.
	KeysMax, BytesMax int

	// snapshots and changes are by revision; there is no revision 0, and
	// revision 1 is empty.
	snapshots []snapshot
	changes   [][]string
	compact   uint64
}

// New is an empty namespace without leases and locks.
func New() *Model {
	return &Model{
		Leases:    map[int64]bool{},
		Tokens:    map[string]uint64{},
		snapshots: []snapshot{nil, {}},
		changes:   [][]string{nil, nil},
	}
}

// Revision is the namespace's revision.
func (m *Model) Revision() uint64 { return uint64(len(m.snapshots) - 1) }

// CompactRevision is the oldest readable revision, 0 before any compaction.
func (m *Model) CompactRevision() uint64 { return m.compact }

// Keys are the newest versions of all keys, in key order.
func (m *Model) Keys() []*flotillav1.KeyValue {
	return m.newest().inOrder(func(string) bool { return true })
}

// Changes are the keys that a revision wrote or removed, in order.
func (m *Model) Changes(revision uint64) []string { return m.changes[revision] }

// Get is KVService.Get.
func (m *Model) Get(req *flotillav1.GetRequest) (*flotillav1.GetResponse, error) {
	if err := formOfGet(req); err != nil {
		return nil, err
	}
	return m.begin().get(req)
}

// Range is KVService.Range, without a bound on the answer but the limit.
func (m *Model) Range(req *flotillav1.RangeRequest) (*flotillav1.RangeResponse, error) {
	if err := formOfRange(req); err != nil {
		return nil, err
	}
	return m.begin().rangeKeys(req)
}

// Put is KVService.Put.
func (m *Model) Put(req *flotillav1.PutRequest) (*flotillav1.PutResponse, error) {
	if err := formOfPut(req); err != nil {
		return nil, err
	}
	d := m.begin()
	response, err := d.put(req)
	return response, m.end(d, err)
}

// Delete is KVService.Delete.
func (m *Model) Delete(req *flotillav1.DeleteRequest) (*flotillav1.DeleteResponse, error) {
	if err := formOfDelete(req); err != nil {
		return nil, err
	}
	d := m.begin()
	response, err := d.delete(req)
	return response, m.end(d, err)
}

// Txn is KVService.Txn.
func (m *Model) Txn(req *flotillav1.TxnRequest) (*flotillav1.TxnResponse, error) {
	if err := formOfTxn(req); err != nil {
		return nil, err
	}
	if writesTwice(req) {
		return nil, &RefusalError{Kind: DuplicateKey}
	}
	d := m.begin()
	response, err := d.txn(req)
	return response, m.end(d, err)
}

// Compact is KVService.Compact.
func (m *Model) Compact(req *flotillav1.CompactRequest) (*flotillav1.CompactResponse, error) {
	revision := req.GetRevision()
	switch {
	case revision == 0:
		return nil, &RefusalError{Kind: Invalid}
	case revision > m.Revision():
		return nil, &RefusalError{Kind: Future, Revision: m.Revision()}
	case revision <= m.compact:
		return nil, &RefusalError{Kind: Compacted, Revision: m.compact}
	}
	m.compact = revision
	return &flotillav1.CompactResponse{Revision: m.Revision(), CompactRevision: m.compact}, nil
}

func (m *Model) newest() snapshot { return m.snapshots[m.Revision()] }

// begin starts a request on a copy of the newest keys.
func (m *Model) begin() *draft {
	return &draft{model: m, before: m.newest(), keys: maps.Clone(m.newest())}
}

// end makes a new revision of what a request changed, if it was not refused.
func (m *Model) end(d *draft, err error) error {
	if err == nil {
		err = m.quota(d)
	}
	if err == nil && len(d.changes) > 0 {
		m.snapshots = append(m.snapshots, d.keys)
		m.changes = append(m.changes, d.changes)
	}
	return err
}

// quota refuses what would be too much, and is more than there was.
func (m *Model) quota(d *draft) error {
	if m.KeysMax > 0 && len(d.keys) > m.KeysMax && len(d.keys) > len(d.before) {
		return &RefusalError{Kind: KeysQuota}
	}
	if m.BytesMax > 0 && d.keys.bytes() > m.BytesMax && d.keys.bytes() > d.before.bytes() {
		return &RefusalError{Kind: BytesQuota}
	}
	return nil
}

// bytes is how many bytes the keys and their values have.
func (s snapshot) bytes() (sum int) {
	for key, kv := range s { //tidy:order it is a sum
		sum += len(key) + len(kv.GetValue())
	}
	return sum
}

// inOrder are copies of the chosen keys, in key order.
func (s snapshot) inOrder(choose func(key string) bool) []*flotillav1.KeyValue {
	var kvs []*flotillav1.KeyValue
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if choose(key) {
			kvs = append(kvs, proto.CloneOf(s[key]))
		}
	}
	return kvs
}
