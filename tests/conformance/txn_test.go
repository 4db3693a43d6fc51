package conformance

import (
	"fmt"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func fromKey() []clientv3.OpOption { return []clientv3.OpOption{clientv3.WithFromKey()} }

func txnCases() []testCase {
	return slices.Concat(compareCases(), writeTwiceCases(), nestedCases(), txnErrorCases())
}

// compareCases are all targets and results, of one key and of ranges.
func compareCases() []testCase {
	subjects := []struct{ name, key, end string }{
		{"a key", "b", ""},
		{"no key", "nothing", ""},
		{"a range", "a", "d"},
		{"a range of equals", "a", "c"},
		{"an empty range", "x", "z"},
		{"a range backwards", "c", "a"},
		{"from a key", "b", "\x00"},
	}
	var cases []testCase
	targets := append(sortedKeys(pb.Compare_CompareTarget_name), 9)
	for _, target := range targets {
		for _, subject := range subjects {
			name := fmt.Sprintf("compare %s of %s", pb.Compare_CompareTarget(target), subject.name)
			cases = append(cases, testCase{name: name, run: func(t *testing.T, w *world) {
				w.put(t, "a=5", "b=5", "c=7", "a=5", "b=5")
				for _, result := range append(sortedKeys(pb.Compare_CompareResult_name), 9) {
					for _, operand := range []int64{-1, 0, 1, 2, 5, 7} {
						c := &pb.Compare{Key: w.bytes(subject.key), Target: pb.Compare_CompareTarget(target), Result: pb.Compare_CompareResult(result)}
						switch subject.end {
						case "":
						case "\x00":
							c.RangeEnd = []byte{0}
						default:
							c.RangeEnd = w.bytes(subject.end)
						}
						setOperand(w, c, operand)
						response, err := w.txnRPC(w.ctx, &pb.TxnRequest{Compare: []*pb.Compare{c}})
						if err != nil {
							w.note("%d %d: %s", result, operand, errorText(err))
							continue
						}
						w.note("%d %d: %v", result, operand, response.GetSucceeded())
					}
				}
			}})
		}
	}
	return append(cases, oddCompareCases()...)
}

func setOperand(w *world, c *pb.Compare, operand int64) {
	switch c.GetTarget() {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: operand}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: w.at(operand)}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: w.at(operand)}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: fmt.Append(nil, operand)}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: operand}
	}
}

// at is a revision of the case, or one that is none.
func (w *world) at(n int64) int64 {
	if n <= 0 {
		return n
	}
	return w.base + n
}

func oddCompareCases() []testCase {
	odd := func(name string, c *pb.Compare) testCase {
		return testCase{name: "compare " + name, run: func(t *testing.T, w *world) {
			w.put(t, "a=1")
			if len(c.GetKey()) > 0 {
				c = &pb.Compare{Key: w.bytes("a"), Target: c.GetTarget(), Result: c.GetResult(), TargetUnion: c.GetTargetUnion()}
			}
			call(w, "txn", w.txnRPC, &pb.TxnRequest{Compare: []*pb.Compare{c}})
		}}
	}
	key := []byte("a")
	return []testCase{
		odd("without a key", &pb.Compare{}),
		odd("with nothing", &pb.Compare{Key: key}),
		odd("a version with a value", &pb.Compare{Key: key, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Value{Value: []byte("1")}}),
		odd("a value with a version", &pb.Compare{Key: key, Target: pb.Compare_VALUE, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{Version: 1}}),
		odd("a lease with a revision", &pb.Compare{Key: key, Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_ModRevision{ModRevision: 3}}),
	}
}

// writeTwiceCases are transactions that may write a key twice.
func writeTwiceCases() []testCase {
	txn := func(name, differs string, build func(w *world) *pb.TxnRequest) testCase {
		return testCase{name: name, differs: differs, run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "b=2")
			call(w, "txn", w.txnRPC, build(w))
		}}
	}
	put := func(w *world, key string) *pb.RequestOp { return putOp(&pb.PutRequest{Key: w.bytes(key)}) }
	remove := func(w *world, key, end string) *pb.RequestOp {
		r := &pb.DeleteRangeRequest{Key: w.bytes(key)}
		if end != "" {
			r.RangeEnd = w.bytes(end)
		}
		return deleteOp(r)
	}
	list := func(ops ...*pb.RequestOp) []*pb.RequestOp { return ops }
	missedRange := "etcd does not see that a transaction puts a key that it deletes by a range without an end"
	missed := "etcd does not see that a transaction puts a key in one nested transaction and deletes it in a later one"
	return []testCase{
		txn("put twice", "", func(w *world) *pb.TxnRequest { return &pb.TxnRequest{Success: list(put(w, "a"), put(w, "a"))} }),
		txn("put twice in the branch not taken", "", func(w *world) *pb.TxnRequest { return &pb.TxnRequest{Failure: list(put(w, "a"), put(w, "a"))} }),
		txn("put in both branches", "", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: list(put(w, "a")), Failure: list(put(w, "a"))}
		}),
		txn("put and delete", "", func(w *world) *pb.TxnRequest { return &pb.TxnRequest{Success: list(put(w, "a"), remove(w, "a", ""))} }),
		txn("delete and put", "", func(w *world) *pb.TxnRequest { return &pb.TxnRequest{Success: list(remove(w, "a", ""), put(w, "a"))} }),
		txn("put into a range deleted", "", func(w *world) *pb.TxnRequest { return &pb.TxnRequest{Success: list(remove(w, "a", "c"), put(w, "b"))} }),
		txn("put at the end of a range deleted", "", func(w *world) *pb.TxnRequest { return &pb.TxnRequest{Success: list(remove(w, "a", "b"), put(w, "b"))} }),
		txn("put into a range without an end that is deleted", missedRange, func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: list(put(w, "b"), deleteOp(&pb.DeleteRangeRequest{Key: w.bytes("z"), RangeEnd: []byte{0}}), deleteOp(&pb.DeleteRangeRequest{Key: w.bytes("a"), RangeEnd: []byte{0}}))}
		}),
		txn("delete twice", "", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: list(remove(w, "a", ""), remove(w, "a", "z"))}
		}),
		txn("put in and outside of a nested one", "", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: list(put(w, "a"), txnOp(&pb.TxnRequest{Success: list(put(w, "a"))}))}
		}),
		txn("put in both branches of a nested one", "", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: list(txnOp(&pb.TxnRequest{Success: list(put(w, "a")), Failure: list(put(w, "a"))}))}
		}),
		txn("put in two nested ones", "", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: list(txnOp(&pb.TxnRequest{Success: list(put(w, "a"))}), txnOp(&pb.TxnRequest{Failure: list(put(w, "a"))}))}
		}),
		txn("put outside of what a nested one deletes", "", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: list(txnOp(&pb.TxnRequest{Failure: list(remove(w, "a", "c"))}), put(w, "b"))}
		}),
		txn("delete in a nested one and put in a later one", "", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: list(txnOp(&pb.TxnRequest{Success: list(remove(w, "a", ""))}), txnOp(&pb.TxnRequest{Success: list(put(w, "a"))}))}
		}),
		txn("put in a nested one and delete in a later one", missed, func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: list(txnOp(&pb.TxnRequest{Success: list(put(w, "a"))}), txnOp(&pb.TxnRequest{Success: list(remove(w, "a", ""))}))}
		}),
	}
}

func nestedCases() []testCase {
	version := func(w *world, key string, version int64) *pb.Compare {
		return &pb.Compare{Key: w.bytes(key), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: version}}
	}
	get := func(w *world, key string) *pb.RequestOp { return rangeOp(&pb.RangeRequest{Key: w.bytes(key)}) }
	put := func(w *world, key, value string) *pb.RequestOp {
		return putOp(&pb.PutRequest{Key: w.bytes(key), Value: []byte(value), PrevKv: true})
	}
	txn := func(name string, build func(w *world) *pb.TxnRequest) testCase {
		return testCase{name: name, run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "b=2", "a=3")
			call(w, "txn", w.txnRPC, build(w))
			call(w, "after", w.rangeRPC, &pb.RangeRequest{Key: w.bytes(""), RangeEnd: w.bytes("\xff")})
		}}
	}
	return []testCase{
		txn("nothing", func(*world) *pb.TxnRequest { return &pb.TxnRequest{} }),
		txn("then", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Compare: []*pb.Compare{version(w, "a", 2)}, Success: []*pb.RequestOp{get(w, "a"), put(w, "a", "4"), get(w, "a")}}
		}),
		txn("else", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Compare: []*pb.Compare{version(w, "a", 9)}, Failure: []*pb.RequestOp{put(w, "c", "4"), get(w, "c")}}
		}),
		txn("one of several comparisons fails", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Compare: []*pb.Compare{version(w, "a", 2), version(w, "b", 2)}, Failure: []*pb.RequestOp{get(w, "b")}}
		}),
		txn("reads see the writes before them", func(w *world) *pb.TxnRequest {
			all := rangeOp(&pb.RangeRequest{Key: w.bytes(""), RangeEnd: w.bytes("\xff")})
			return &pb.TxnRequest{Success: []*pb.RequestOp{
				all, put(w, "c", "1"), all, deleteOp(&pb.DeleteRangeRequest{Key: w.bytes("a"), RangeEnd: w.bytes("c"), PrevKv: true}), all,
				deleteOp(&pb.DeleteRangeRequest{Key: w.bytes("nothing")}),
			}}
		}),
		txn("reads of old revisions", func(w *world) *pb.TxnRequest {
			old := rangeOp(&pb.RangeRequest{Key: w.bytes(""), RangeEnd: w.bytes("\xff"), Revision: w.base + 1})
			now := rangeOp(&pb.RangeRequest{Key: w.bytes("a"), Revision: w.base + 3})
			return &pb.TxnRequest{Success: []*pb.RequestOp{old, now, put(w, "a", "9"), old, now}}
		}),
		txn("nested comparisons do not see the writes before them", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{
				put(w, "a", "4"),
				txnOp(&pb.TxnRequest{
					Compare: []*pb.Compare{version(w, "a", 2)},
					Success: []*pb.RequestOp{get(w, "a"), txnOp(&pb.TxnRequest{Compare: []*pb.Compare{version(w, "c", 0)}, Success: []*pb.RequestOp{get(w, "b")}})},
					Failure: []*pb.RequestOp{get(w, "nothing")},
				}),
				put(w, "c", "5"),
				txnOp(&pb.TxnRequest{Compare: []*pb.Compare{version(w, "c", 1)}, Success: []*pb.RequestOp{get(w, "a")}, Failure: []*pb.RequestOp{get(w, "c")}}),
			}}
		}),
		txn("only deletions of nothing", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{deleteOp(&pb.DeleteRangeRequest{Key: w.bytes("x"), RangeEnd: w.bytes("z")}), get(w, "a")}}
		}),
		txn("a nested one that only reads", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{txnOp(&pb.TxnRequest{Success: []*pb.RequestOp{get(w, "a")}})}}
		}),
		txn("keys only and counts", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{
				rangeOp(&pb.RangeRequest{Key: w.bytes("a"), KeysOnly: true}), rangeOp(&pb.RangeRequest{Key: w.bytes("a"), CountOnly: true}),
				rangeOp(&pb.RangeRequest{Key: w.bytes("z"), RangeEnd: w.bytes("a")}),
			}}
		}),
	}
}

// txnErrorCases are transactions that are refused.
func txnErrorCases() []testCase {
	txn := func(name string, build func(w *world) *pb.TxnRequest) testCase {
		return testCase{name: "refuse " + name, run: func(t *testing.T, w *world) {
			w.put(t, "a=1")
			call(w, "txn", w.txnRPC, build(w))
			call(w, "after", w.rangeRPC, &pb.RangeRequest{Key: w.bytes(""), RangeEnd: w.bytes("\xff"), Limit: 3})
		}}
	}
	puts := func(w *world, n int) (ops []*pb.RequestOp) {
		for i := range n {
			ops = append(ops, putOp(&pb.PutRequest{Key: w.bytes(fmt.Sprintf("%04d", i))}))
		}
		return ops
	}
	compares := func(w *world, n int) (list []*pb.Compare) {
		for range n {
			list = append(list, &pb.Compare{Key: w.bytes("a"), Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{}})
		}
		return list
	}
	one := func(op *pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: []*pb.RequestOp{op}} }
	write := func(w *world) *pb.RequestOp { return putOp(&pb.PutRequest{Key: w.bytes("b")}) }
	return []testCase{
		txn("129 operations", func(w *world) *pb.TxnRequest { return &pb.TxnRequest{Success: puts(w, 129)} }),
		txn("128 operations not", func(w *world) *pb.TxnRequest { return &pb.TxnRequest{Success: puts(w, 128), Failure: puts(w, 128)} }),
		txn("129 operations not taken", func(w *world) *pb.TxnRequest { return &pb.TxnRequest{Failure: puts(w, 129)} }),
		txn("129 comparisons", func(w *world) *pb.TxnRequest { return &pb.TxnRequest{Compare: compares(w, 129)} }),
		txn("128 comparisons not", func(w *world) *pb.TxnRequest { return &pb.TxnRequest{Compare: compares(w, 128)} }),
		txn("nested 128 operations", func(w *world) *pb.TxnRequest { return one(txnOp(&pb.TxnRequest{Success: puts(w, 128)})) }),
		txn("nested 127 operations not", func(w *world) *pb.TxnRequest { return one(txnOp(&pb.TxnRequest{Success: puts(w, 127)})) }),
		txn("several nested ones with many operations not", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{
				txnOp(&pb.TxnRequest{Success: puts(w, 100)}), txnOp(&pb.TxnRequest{Failure: nil, Compare: compares(w, 120)}),
			}}
		}),
		txn("an operation that is none", func(*world) *pb.TxnRequest { return one(&pb.RequestOp{}) }),
		txn("a put without a key", func(*world) *pb.TxnRequest { return one(putOp(&pb.PutRequest{})) }),
		txn("a range without a key", func(*world) *pb.TxnRequest { return one(rangeOp(&pb.RangeRequest{})) }),
		txn("a deletion without a key", func(*world) *pb.TxnRequest { return one(deleteOp(&pb.DeleteRangeRequest{})) }),
		txn("a value that is to be ignored", func(w *world) *pb.TxnRequest {
			return one(putOp(&pb.PutRequest{Key: w.bytes("a"), Value: []byte("1"), IgnoreValue: true}))
		}),
		txn("a lease that is to be ignored", func(w *world) *pb.TxnRequest {
			return one(putOp(&pb.PutRequest{Key: w.bytes("a"), Lease: 1, IgnoreLease: true}))
		}),
		txn("no such order", func(w *world) *pb.TxnRequest { return one(rangeOp(&pb.RangeRequest{Key: w.bytes("a"), SortOrder: 7})) }),
		txn("too many operations before a missing key", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: append(puts(w, 128), putOp(&pb.PutRequest{}))}
		}),
		txn("a missing key before a duplicate", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{write(w), write(w), putOp(&pb.PutRequest{})}}
		}),
		txn("a missing key in a nested one", func(*world) *pb.TxnRequest { return one(txnOp(one(putOp(&pb.PutRequest{})))) }),
		txn("no such lease", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{write(w), putOp(&pb.PutRequest{Key: w.bytes("c"), Lease: 77})}}
		}),
		txn("no such key to ignore the value of", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{write(w), putOp(&pb.PutRequest{Key: w.bytes("c"), IgnoreValue: true})}}
		}),
		txn("no such lease before no such key", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{putOp(&pb.PutRequest{Key: w.bytes("c"), Lease: 77}), putOp(&pb.PutRequest{Key: w.bytes("d"), IgnoreValue: true})}}
		}),
		txn("a future revision", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{write(w), rangeOp(&pb.RangeRequest{Key: w.bytes("a"), Revision: w.base + 2})}}
		}),
		txn("what is wrong in the branch not taken, not", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{write(w)}, Failure: []*pb.RequestOp{putOp(&pb.PutRequest{Key: w.bytes("c"), Lease: 77})}}
		}),
		{name: "refuse a compacted revision", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "a=2", "a=3")
			call(w, "compact", w.compactRPC, &pb.CompactionRequest{Revision: w.base + 3})
			call(w, "txn", w.txnRPC, one(rangeOp(&pb.RangeRequest{Key: w.bytes("a"), Revision: w.base + 2})))
			call(w, "write", w.txnRPC, &pb.TxnRequest{Success: []*pb.RequestOp{write(w), rangeOp(&pb.RangeRequest{Key: w.bytes("a"), Revision: w.base + 2})}})
		}},
		{
			name:    "refuse a negative revision",
			differs: "a range at a negative revision in a transaction reads the newest one, also when something was compacted",
			run: func(t *testing.T, w *world) {
				w.put(t, "a=1", "a=2")
				call(w, "compact", w.compactRPC, &pb.CompactionRequest{Revision: w.base + 2})
				call(w, "txn", w.txnRPC, one(rangeOp(&pb.RangeRequest{Key: w.bytes("a"), Revision: -1})))
			},
		},
		txn("a transaction that is too large", func(w *world) *pb.TxnRequest {
			return &pb.TxnRequest{Success: []*pb.RequestOp{
				putOp(&pb.PutRequest{Key: w.bytes("b"), Value: make([]byte, 1<<20)}), putOp(&pb.PutRequest{Key: w.bytes("c"), Value: make([]byte, 1<<19)}),
			}}
		}),
	}
}
