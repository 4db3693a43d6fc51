package mvcc_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// counted counts the calls of each kind.
type counted struct {
	mvcc.Writer
	head, version, putVersion, putEvent, other int
}

func (c *counted) Head(key []byte) (mvcc.Head, error) {
	c.head++
	return c.Writer.Head(key)
}

func (c *counted) Version(key []byte, at mvcc.Revision) (mvcc.Revision, []byte, bool, error) {
	c.version++
	return c.Writer.Version(key, at)
}

func (c *counted) Versions(start, end []byte, at mvcc.Revision, descending bool) mvcc.VersionIterator {
	c.other++
	return c.Writer.Versions(start, end, at, descending)
}

func (c *counted) PutVersion(key []byte, rev mvcc.Revision, value []byte) error {
	c.putVersion++
	return c.Writer.PutVersion(key, rev, value)
}

func (c *counted) PutEvent(rev mvcc.Revision, sub uint32, key []byte) error {
	c.putEvent++
	return c.Writer.PutEvent(rev, sub, key)
}

// TestPutCallsStorageThrice holds the most frequent request to its cost,
// whatever its options are: the value before is read only if it is needed.
func TestPutCallsStorageThrice(t *testing.T) {
	t.Parallel()
	s := newSpace()
	s.put(t, &flotillav1.PutRequest{Key: b("a"), Value: b("1"), Lease: 7})
	w := &counted{Writer: s.store}
	for i, test := range []struct {
		req           *flotillav1.PutRequest
		head, version int
	}{
		{&flotillav1.PutRequest{Key: b("new")}, 1, 0},
		{&flotillav1.PutRequest{Key: b("a"), IgnoreLease: true, Precondition: &flotillav1.Precondition{MustExist: true}}, 2, 0},
		{&flotillav1.PutRequest{Key: b("a"), PrevKv: true}, 2, 1},
		{&flotillav1.PutRequest{Key: b("a"), IgnoreValue: true}, 2, 2},
	} {
		_, err := mvcc.Put(w, &s.state, s.hooks, test.req)
		require.NoError(t, err)
		require.Equal(t, counted{Writer: s.store, head: test.head, version: test.version, putVersion: i + 1, putEvent: i + 1}, *w)
	}
}

// discard is storage of one key that keeps nothing, so that a benchmark sees
// the key space alone.
type discard struct {
	mvcc.Writer
	stored []byte
}

func (d *discard) Version([]byte, mvcc.Revision) (mvcc.Revision, []byte, bool, error) {
	return 1, d.stored, len(d.stored) > 0, nil
}

func (d *discard) PutVersion(_ []byte, _ mvcc.Revision, value []byte) error {
	d.stored = append(d.stored[:0], value...)
	return nil
}

func (d *discard) PutEvent(mvcc.Revision, uint32, []byte) error { return nil }

func BenchmarkPutAlone(bm *testing.B) {
	s, w := newSpace(), &discard{}
	req := &flotillav1.PutRequest{Key: b("config/service/alpha"), Value: make([]byte, 256)}
	bm.ReportAllocs()
	for bm.Loop() {
		if _, err := mvcc.Put(w, &s.state, s.hooks, req); err != nil {
			bm.Fatal(err)
		}
	}
}

func BenchmarkCompareAndSwapAlone(bm *testing.B) {
	s, w := newSpace(), &discard{}
	req := &flotillav1.TxnRequest{
		Compare: []*flotillav1.Compare{{
			Subject: &flotillav1.Compare_Key{Key: b("config/service/alpha")}, Target: &flotillav1.Compare_Lease{},
		}},
		Success: operations(&flotillav1.PutRequest{Key: b("config/service/alpha"), Value: make([]byte, 256)}),
		Failure: operations(&flotillav1.GetRequest{Key: b("config/service/alpha")}),
	}
	bm.ReportAllocs()
	for bm.Loop() {
		if _, err := mvcc.Txn(w, &s.state, s.hooks, req); err != nil {
			bm.Fatal(err)
		}
	}
}

// benchmarkSpace has 1000 keys of 256 bytes.
func benchmarkSpace(b *testing.B) *space {
	b.Helper()
	s := newSpace()
	for i := range 1000 {
		s.put(b, &flotillav1.PutRequest{Key: fmt.Appendf(nil, "config/service/%04d", i), Value: make([]byte, 256)})
	}
	return s
}

func BenchmarkPut(bm *testing.B) {
	s := benchmarkSpace(bm)
	req := &flotillav1.PutRequest{Key: b("config/service/0500"), Value: make([]byte, 256)}
	bm.ReportAllocs()
	for bm.Loop() {
		if _, err := mvcc.Put(s.store, &s.state, s.hooks, req); err != nil {
			bm.Fatal(err)
		}
	}
}

func BenchmarkGet(bm *testing.B) {
	s := benchmarkSpace(bm)
	req := &flotillav1.GetRequest{Key: b("config/service/0500")}
	bm.ReportAllocs()
	for bm.Loop() {
		if _, err := mvcc.Get(s.store, &s.state, req); err != nil {
			bm.Fatal(err)
		}
	}
}

func BenchmarkRange100(bm *testing.B) {
	s := benchmarkSpace(bm)
	req := &flotillav1.RangeRequest{Keys: &flotillav1.KeyRange{Start: b("config/service/0300")}, Limit: 100}
	bm.ReportAllocs()
	for bm.Loop() {
		if _, err := mvcc.Range(s.store, &s.state, req, mvcc.ReadLimits{KeysMax: 1000, BytesMax: 1 << 20}); err != nil {
			bm.Fatal(err)
		}
	}
}
