package conformance

import (
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// rangeCases are all sort targets and orders, with and without limits, filters,
// and what else changes the answer; alone and in transactions.
func rangeCases() []testCase {
	variants := []struct {
		name string
		set  func(*world, *pb.RangeRequest)
	}{
		{"plain", func(*world, *pb.RangeRequest) {}},
		{"keys only", func(_ *world, r *pb.RangeRequest) { r.KeysOnly = true }},
		{"count only", func(_ *world, r *pb.RangeRequest) { r.CountOnly = true }},
		{"min mod", func(w *world, r *pb.RangeRequest) { r.MinModRevision = w.base + 4 }},
		{"max mod", func(w *world, r *pb.RangeRequest) { r.MaxModRevision = w.base + 6 }},
		{"min create", func(w *world, r *pb.RangeRequest) { r.MinCreateRevision = w.base + 2 }},
		{"max create and max mod", func(w *world, r *pb.RangeRequest) {
			r.MaxCreateRevision, r.MaxModRevision = w.base+3, w.base+7
		}},
		{"old revision", func(w *world, r *pb.RangeRequest) { r.Revision = w.base + 5 }},
	}
	var cases []testCase
	for _, target := range sortedKeys(pb.RangeRequest_SortTarget_name) {
		for _, order := range sortedKeys(pb.RangeRequest_SortOrder_name) {
			for _, variant := range variants {
				name := fmt.Sprintf("by %s, %s, %s", pb.RangeRequest_SortTarget(target), pb.RangeRequest_SortOrder(order), variant.name)
				cases = append(cases, testCase{name: name, run: func(t *testing.T, w *world) {
					fillRange(t, w)
					for _, limit := range []int64{0, 1, 3, 5, 6} {
						r := &pb.RangeRequest{
							Key: w.bytes(""), RangeEnd: w.bytes("\xff"), Limit: limit,
							SortTarget: pb.RangeRequest_SortTarget(target), SortOrder: pb.RangeRequest_SortOrder(order),
						}
						variant.set(w, r)
						call(w, fmt.Sprintf("limit %d", limit), w.rangeRPC, proto.CloneOf(r))
						call(w, fmt.Sprintf("limit %d in a transaction", limit), w.txnRPC, &pb.TxnRequest{
							Success: []*pb.RequestOp{rangeOp(r), putOp(&pb.PutRequest{Key: w.bytes("0")}), rangeOp(r)},
						})
					}
				}})
			}
		}
	}
	return cases
}

// fillRange writes keys of which each field has another order, and some are
// equal in it.
func fillRange(t *testing.T, w *world) {
	t.Helper()
	w.put(t, "c=5", "a=4", "e=3", "b=4", "d=1", "a=2", "c=5", "c=0", "b=3")
}

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func putOp(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func deleteOp(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func txnOp(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}
