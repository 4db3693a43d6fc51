package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func sortedKeys(m map[int32]string) []int32 { return slices.Sorted(maps.Keys(m)) }

// kvCases are reads, writes and compactions one by one.
func kvCases() []testCase {
	cases := slices.Concat(putCases(), readCases(), deleteCases(), streamCases(), compactCases())
	return append(cases, badCases()...)
}

func putCases() []testCase {
	put := func(name string, prepare []string, request *pb.PutRequest) testCase {
		return testCase{name: name, run: func(t *testing.T, w *world) {
			w.put(t, prepare...)
			r := proto.CloneOf(request)
			if len(r.GetKey()) > 0 {
				r.Key = w.bytes(string(r.GetKey()))
			}
			call(w, "put", w.putRPC, r)
			call(w, "get", w.rangeRPC, &pb.RangeRequest{Key: w.bytes("a")})
		}}
	}
	a := []byte("a")
	return []testCase{
		put("put", nil, &pb.PutRequest{Key: a, Value: []byte("1")}),
		put("put an empty value", nil, &pb.PutRequest{Key: a}),
		put("put again", []string{"a=1"}, &pb.PutRequest{Key: a, Value: []byte("2")}),
		put("put with the previous", []string{"a=1"}, &pb.PutRequest{Key: a, Value: []byte("2"), PrevKv: true}),
		put("put with a previous that is not there", nil, &pb.PutRequest{Key: a, PrevKv: true}),
		put("put without a key", nil, &pb.PutRequest{Value: []byte("1")}),
		put("put without a key and with everything wrong", nil, &pb.PutRequest{Value: []byte("1"), IgnoreValue: true, IgnoreLease: true, Lease: 5}),
		put("put to ignore a value that is given", []string{"a=1"}, &pb.PutRequest{Key: a, Value: []byte("1"), IgnoreValue: true}),
		put("put to ignore a lease that is given", []string{"a=1"}, &pb.PutRequest{Key: a, Lease: 7, IgnoreLease: true}),
		put("put to ignore both that are given", []string{"a=1"}, &pb.PutRequest{Key: a, Value: []byte("1"), Lease: 7, IgnoreValue: true, IgnoreLease: true}),
		put("put ignoring the value", []string{"a=1"}, &pb.PutRequest{Key: a, IgnoreValue: true, PrevKv: true}),
		put("put ignoring the value of no key", nil, &pb.PutRequest{Key: a, IgnoreValue: true}),
		put("put ignoring the lease", []string{"a=1"}, &pb.PutRequest{Key: a, Value: []byte("2"), IgnoreLease: true}),
		put("put ignoring the lease of no key", nil, &pb.PutRequest{Key: a, IgnoreLease: true}),
		put("put ignoring both", []string{"a=1"}, &pb.PutRequest{Key: a, IgnoreLease: true, IgnoreValue: true}),
		put("put with no such lease", nil, &pb.PutRequest{Key: a, Lease: 12345}),
		put("put with no such lease, ignoring the value of no key", nil, &pb.PutRequest{Key: a, Lease: 12345, IgnoreValue: true}),
		put("put with a negative lease", nil, &pb.PutRequest{Key: a, Lease: -3}),
		put("put a large value", nil, &pb.PutRequest{Key: a, Value: bytes.Repeat([]byte("v"), 1<<20)}),
		put("put a value that is too large", nil, &pb.PutRequest{Key: a, Value: make([]byte, 3<<19)}),
		put("put any bytes", nil, &pb.PutRequest{Key: []byte("\x00\xff\x80"), Value: []byte("\xff\x00")}),
	}
}

func readCases() []testCase {
	read := func(name string, request func(w *world) *pb.RangeRequest) testCase {
		return testCase{name: name, run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "b=2", "a=3", "c=4", "d=5")
			_, err := w.client.Delete(w.ctx, w.key("d"))
			require.NoError(t, err)
			call(w, "range", w.rangeRPC, request(w))
		}}
	}
	key := func(name, key string, set func(*world, *pb.RangeRequest)) testCase {
		return read(name, func(w *world) *pb.RangeRequest {
			r := &pb.RangeRequest{Key: w.bytes(key)}
			if set != nil {
				set(w, r)
			}
			return r
		})
	}
	span := func(name, key, end string) testCase {
		return read(name, func(w *world) *pb.RangeRequest {
			return &pb.RangeRequest{Key: w.bytes(key), RangeEnd: w.bytes(end)}
		})
	}
	return []testCase{
		key("get", "a", nil),
		key("get nothing", "nothing", nil),
		key("get what was deleted", "d", nil),
		key("get serializable", "a", func(_ *world, r *pb.RangeRequest) { r.Serializable = true }),
		key("get the key only", "a", func(_ *world, r *pb.RangeRequest) { r.KeysOnly = true }),
		key("count one key", "a", func(_ *world, r *pb.RangeRequest) { r.CountOnly = true }),
		key("count no key", "nothing", func(_ *world, r *pb.RangeRequest) { r.CountOnly = true }),
		key("get with a limit", "a", func(_ *world, r *pb.RangeRequest) { r.Limit = 1 }),
		key("get with a negative limit", "a", func(_ *world, r *pb.RangeRequest) { r.Limit = -1 }),
		key("get filtered", "a", func(w *world, r *pb.RangeRequest) { r.MinModRevision = w.base + 4 }),
		key("get unfiltered", "a", func(w *world, r *pb.RangeRequest) { r.MaxModRevision = w.base + 3 }),
		key("get an old revision", "a", func(w *world, r *pb.RangeRequest) { r.Revision = w.base + 1 }),
		key("get before it was created", "c", func(w *world, r *pb.RangeRequest) { r.Revision = w.base + 1 }),
		key("get before it was deleted", "d", func(w *world, r *pb.RangeRequest) { r.Revision = w.base + 5 }),
		key("get a future revision", "a", func(w *world, r *pb.RangeRequest) { r.Revision = w.base + 100 }),
		key("get a negative revision", "a", func(_ *world, r *pb.RangeRequest) { r.Revision = -5 }),
		span("range", "a", "c"),
		span("range to the end", "b", "z"),
		span("range over nothing", "x", "z"),
		span("range that ends where it starts", "a", "a"),
		span("range that ends before it starts", "c", "a"),
		read("range from a key", func(w *world) *pb.RangeRequest {
			return &pb.RangeRequest{Key: w.bytes("b"), RangeEnd: []byte{0}, MinCreateRevision: w.base + 1}
		}),
		read("range over everything", func(w *world) *pb.RangeRequest {
			return &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, MinCreateRevision: w.base + 1}
		}),
		read("range with a negative limit", func(w *world) *pb.RangeRequest {
			return &pb.RangeRequest{Key: w.bytes("a"), RangeEnd: w.bytes("z"), Limit: -4}
		}),
		read("range with negative filters", func(w *world) *pb.RangeRequest {
			return &pb.RangeRequest{Key: w.bytes("a"), RangeEnd: w.bytes("z"), MinModRevision: -4, MinCreateRevision: -1}
		}),
		read("range with a negative maximum", func(w *world) *pb.RangeRequest {
			return &pb.RangeRequest{Key: w.bytes("a"), RangeEnd: w.bytes("z"), MaxModRevision: -4}
		}),
		read("range with bounds that exclude each other", func(w *world) *pb.RangeRequest {
			return &pb.RangeRequest{Key: w.bytes("a"), RangeEnd: w.bytes("z"), MinModRevision: w.base + 4, MaxModRevision: w.base + 2}
		}),
		{name: "range of many keys", run: func(t *testing.T, w *world) {
			const keys = 12_000 // more than one page of a node
			for first := 0; first < keys; first += 100 {
				txn := new(pb.TxnRequest)
				for i := first; i < first+100; i++ {
					txn.Success = append(txn.Success, putOp(&pb.PutRequest{Key: w.bytes(fmt.Sprintf("%06d", i)), Value: fmt.Append(nil, i%7)}))
				}
				_, err := w.txnRPC(w.ctx, txn)
				require.NoError(t, err)
			}
			for _, r := range []*pb.RangeRequest{
				{},
				{Limit: 11_000},
				{SortTarget: pb.RangeRequest_VALUE, SortOrder: pb.RangeRequest_DESCEND, Limit: 3},
				{SortOrder: pb.RangeRequest_DESCEND},
				{CountOnly: true},
				{KeysOnly: true},
			} {
				r.Key, r.RangeEnd = w.bytes(""), w.bytes("\xff")
				response, err := w.rangeRPC(w.ctx, r)
				require.NoError(t, err)
				w.note("%d keys of %d, more %v", len(response.GetKvs()), response.GetCount(), response.GetMore())
				if r.GetSortTarget() == pb.RangeRequest_VALUE {
					continue // which of the equal ones come first is left open
				}
				for _, kv := range response.GetKvs() {
					w.note("%s", kv.GetKey())
				}
			}
		}},
	}
}

func deleteCases() []testCase {
	remove := func(name, key, end string, prev bool) testCase {
		return testCase{name: name, run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "b=2", "c=3")
			r := &pb.DeleteRangeRequest{Key: w.bytes(key), PrevKv: prev}
			if end != "" {
				r.RangeEnd = w.bytes(end)
			}
			call(w, "delete", w.deleteRPC, r)
			call(w, "left", w.rangeRPC, &pb.RangeRequest{Key: w.bytes(""), RangeEnd: w.bytes("\xff")})
		}}
	}
	return []testCase{
		remove("delete", "a", "", false),
		remove("delete with the previous", "a", "", true),
		remove("delete nothing", "nothing", "", true),
		remove("delete a range", "a", "c", false),
		remove("delete a range with the previous", "a", "z", true),
		remove("delete a range without keys", "x", "z", true),
		remove("delete a range that ends before it starts", "c", "a", true),
		remove("delete a range that ends where it starts", "a", "a", false),
		{name: "delete from a key", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "b=2")
			all, err := w.client.Get(w.ctx, w.key("b"), fromKey()...)
			require.NoError(t, err)
			response, err := w.deleteRPC(w.ctx, &pb.DeleteRangeRequest{Key: w.bytes("b"), RangeEnd: []byte{0}})
			require.NoError(t, err)
			require.Equal(t, all.Count, response.GetDeleted())
			call(w, "left", w.rangeRPC, &pb.RangeRequest{Key: w.bytes(""), RangeEnd: w.bytes("\xff")})
		}},
		{name: "delete and create again", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "a=2")
			call(w, "delete", w.deleteRPC, &pb.DeleteRangeRequest{Key: w.bytes("a")})
			call(w, "delete again", w.deleteRPC, &pb.DeleteRangeRequest{Key: w.bytes("a")})
			w.put(t, "a=3")
			call(w, "get", w.rangeRPC, &pb.RangeRequest{Key: w.bytes("a")})
		}},
		{name: "delete without a key", run: func(_ *testing.T, w *world) {
			call(w, "delete", w.deleteRPC, &pb.DeleteRangeRequest{})
		}},
	}
}

// streamCases are streamed ranges. How an answer is cut into parts is not
// compared.
func streamCases() []testCase {
	stream := func(name string, set func(*world, *pb.RangeRequest)) testCase {
		return testCase{name: "stream " + name, run: func(t *testing.T, w *world) {
			for i := range 30 {
				w.put(t, fmt.Sprintf("%02d=%d", i, i))
			}
			r := &pb.RangeRequest{Key: w.bytes(""), RangeEnd: w.bytes("\xff")}
			set(w, r)
			whole, err := readStream(w, r)
			w.answer("whole", whole, err)
		}}
	}
	return []testCase{
		stream("a range", func(*world, *pb.RangeRequest) {}),
		stream("with a limit", func(_ *world, r *pb.RangeRequest) { r.Limit = 7 }),
		stream("with a limit of all", func(_ *world, r *pb.RangeRequest) { r.Limit = 30 }),
		stream("with a negative limit", func(_ *world, r *pb.RangeRequest) { r.Limit = -1 }),
		stream("keys only", func(_ *world, r *pb.RangeRequest) { r.KeysOnly = true }),
		stream("a count", func(_ *world, r *pb.RangeRequest) { r.CountOnly = true }),
		stream("an old revision", func(w *world, r *pb.RangeRequest) { r.Revision = w.base + 5 }),
		stream("a future revision", func(w *world, r *pb.RangeRequest) { r.Revision = w.base + 500 }),
		stream("in descending order", func(_ *world, r *pb.RangeRequest) { r.SortOrder = pb.RangeRequest_DESCEND }),
		stream("in ascending order", func(_ *world, r *pb.RangeRequest) { r.SortOrder = pb.RangeRequest_ASCEND }),
		stream("filtered", func(_ *world, r *pb.RangeRequest) { r.MinModRevision = 1 }),
		stream("without a key", func(_ *world, r *pb.RangeRequest) { r.Key = nil }),
		stream("of one key", func(w *world, r *pb.RangeRequest) { r.Key, r.RangeEnd = w.bytes("03"), nil }),
		stream("of nothing", func(w *world, r *pb.RangeRequest) { r.Key, r.RangeEnd = w.bytes("x"), w.bytes("z") }),
	}
}

// readStream puts the parts of a streamed range together.
func readStream(w *world, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	stream, err := w.kv.RangeStream(w.ctx, r)
	if err != nil {
		return nil, err
	}
	whole := new(pb.RangeResponse)
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return whole, nil
		}
		if err != nil {
			return nil, err
		}
		proto.Merge(whole, part.GetRangeResponse())
	}
}

func compactCases() []testCase {
	compact := func(name string, run func(t *testing.T, w *world, compact func(what string, at int64))) testCase {
		return testCase{name: "compact " + name, run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "a=2", "b=3", "a=4", "b=5")
			run(t, w, func(what string, at int64) {
				call(w, what, w.compactRPC, &pb.CompactionRequest{Revision: at})
			})
			for back := range int64(6) {
				call(w, fmt.Sprintf("read %d back", back), w.rangeRPC, &pb.RangeRequest{
					Key: w.bytes(""), RangeEnd: w.bytes("\xff"), Revision: w.base + 5 - back,
				})
			}
		}}
	}
	return []testCase{
		compact("to the past", func(_ *testing.T, w *world, compact func(string, int64)) { compact("compact", w.base+3) }),
		compact("twice", func(_ *testing.T, w *world, compact func(string, int64)) {
			compact("compact", w.base+3)
			compact("again", w.base+3)
			compact("before", w.base+2)
			compact("after", w.base+4)
		}),
		compact("to the present", func(_ *testing.T, w *world, compact func(string, int64)) { compact("compact", w.base+5) }),
		compact("to the future", func(_ *testing.T, w *world, compact func(string, int64)) { compact("compact", w.base+6) }),
		compact("to a negative revision", func(_ *testing.T, _ *world, compact func(string, int64)) { compact("compact", -1) }),
		compact("to nothing", func(_ *testing.T, w *world, compact func(string, int64)) {
			compact("before", w.base+1)
			compact("compact", 0)
		}),
		{name: "compact physically", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "a=2")
			call(w, "compact", w.compactRPC, &pb.CompactionRequest{Revision: w.base + 2, Physical: true})
		}},
	}
}

// badCases are requests that mean nothing.
func badCases() []testCase {
	bad := func(name string, r *pb.RangeRequest) testCase {
		return testCase{name: "range " + name, run: func(_ *testing.T, w *world) { call(w, "range", w.rangeRPC, r) }}
	}
	return []testCase{
		bad("without a key", &pb.RangeRequest{}),
		bad("without a key to an end", &pb.RangeRequest{RangeEnd: []byte("a")}),
		bad("with no such order", &pb.RangeRequest{Key: []byte("a"), SortOrder: 9}),
		bad("with no such target", &pb.RangeRequest{Key: []byte("a"), SortTarget: 9}),
		bad("with nothing right", &pb.RangeRequest{SortTarget: 9, SortOrder: -1}),
		{name: "put a long key", differs: "a key has up to 4 KiB", run: func(_ *testing.T, w *world) {
			call(w, "put", w.putRPC, &pb.PutRequest{Key: w.bytes(strings.Repeat("k", 5000))})
		}},
		{name: "a message that is too large", run: func(_ *testing.T, w *world) {
			call(w, "put", w.putRPC, &pb.PutRequest{Key: w.bytes("a"), Value: []byte(strings.Repeat("v", 3<<20))})
		}},
	}
}
