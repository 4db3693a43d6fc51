package etcd

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// txnOf translates a transaction, all but its namespace. It was checked.
func txnOf(r *pb.TxnRequest) *flotillav1.TxnRequest {
	txn := &flotillav1.TxnRequest{
		Compare: make([]*flotillav1.Compare, len(r.GetCompare())),
		Success: operationsOf(r.GetSuccess()), Failure: operationsOf(r.GetFailure()),
	}
	for i, c := range r.GetCompare() {
		txn.Compare[i] = compareOf(c)
	}
	return txn
}

func operationsOf(list []*pb.RequestOp) []*flotillav1.TxnOperation {
	operations := make([]*flotillav1.TxnOperation, len(list))
	for i, op := range list {
		operations[i] = operationOf(op)
	}
	return operations
}

func operationOf(op *pb.RequestOp) *flotillav1.TxnOperation {
	out := new(flotillav1.TxnOperation)
	switch o := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		r := o.RequestRange
		if isPoint(r) {
			out.Operation = &flotillav1.TxnOperation_Get{Get: &flotillav1.GetRequest{Key: r.GetKey(), Revision: revisionOf(r.GetRevision())}}
			return out
		}
		plan := planRange(r)
		if plan.limitFirst { // sorted when it is answered
			plan.request.SortTarget = flotillav1.SortTarget_SORT_TARGET_KEY
			plan.request.KeysOnly = r.GetKeysOnly() && r.GetSortTarget() != pb.RangeRequest_VALUE
		}
		out.Operation = &flotillav1.TxnOperation_Range{Range: plan.request}
	case *pb.RequestOp_RequestPut:
		out.Operation = &flotillav1.TxnOperation_Put{Put: putOf(o.RequestPut)}
	case *pb.RequestOp_RequestDeleteRange:
		out.Operation = &flotillav1.TxnOperation_Delete{Delete: deleteOf(o.RequestDeleteRange)}
	case *pb.RequestOp_RequestTxn:
		out.Operation = &flotillav1.TxnOperation_Txn{Txn: txnOf(o.RequestTxn)}
	}
	return out
}

// txnResponse is the answer to a transaction, without a header. Its operations
// have headers with nothing but the revision, and nested transactions have
// empty ones, as in etcd.
func txnResponse(r *pb.TxnRequest, response *flotillav1.TxnResponse) *pb.TxnResponse {
	list := r.GetFailure()
	if response.GetSucceeded() {
		list = r.GetSuccess()
	}
	answer := &pb.TxnResponse{
		Header: new(pb.ResponseHeader), Succeeded: response.GetSucceeded(),
		Responses: make([]*pb.ResponseOp, len(response.GetResponses())),
	}
	for i, op := range response.GetResponses() {
		answer.Responses[i] = operationResponse(list[i], op)
	}
	return answer
}

func operationResponse(op *pb.RequestOp, response *flotillav1.TxnOperationResponse) *pb.ResponseOp {
	out := new(pb.ResponseOp)
	switch o := response.GetResponse().(type) {
	case *flotillav1.TxnOperationResponse_Get:
		answer := pointResponse(op.GetRequestRange(), o.Get)
		answer.Header = headerAt(o.Get.GetRevision())
		out.Response = &pb.ResponseOp_ResponseRange{ResponseRange: answer}
	case *flotillav1.TxnOperationResponse_Range:
		out.Response = &pb.ResponseOp_ResponseRange{ResponseRange: rangeInTxn(op.GetRequestRange(), o.Range)}
	case *flotillav1.TxnOperationResponse_Put:
		out.Response = &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{
			Header: headerAt(o.Put.GetRevision()), PrevKv: keyValue(o.Put.GetPrevKv()),
		}}
	case *flotillav1.TxnOperationResponse_Delete:
		out.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: &pb.DeleteRangeResponse{
			Header: headerAt(o.Delete.GetRevision()), Deleted: int64(o.Delete.GetDeleted()),
			PrevKvs: appendKeyValues(nil, o.Delete.GetPrevKvs()),
		}}
	case *flotillav1.TxnOperationResponse_Txn:
		out.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: txnResponse(op.GetRequestTxn(), o.Txn)}
	}
	return out
}

func rangeInTxn(r *pb.RangeRequest, response *flotillav1.RangeResponse) *pb.RangeResponse {
	answer := &pb.RangeResponse{
		Header: headerAt(response.GetRevision()), Kvs: appendKeyValues(nil, response.GetKvs()),
		More: response.GetMore(), Count: int64(response.GetCount()),
	}
	plan := planRange(r)
	if plan.limitFirst {
		sortKeys(answer.GetKvs(), r)
		answer.More = false
		cutRange(answer, r)
	}
	bareKeys(answer.GetKvs(), r)
	if !plan.request.GetCountTotal() && !r.GetCountOnly() {
		answer.Count = int64(len(answer.GetKvs()))
	}
	return answer
}

func headerAt(revision uint64) *pb.ResponseHeader {
	return &pb.ResponseHeader{Revision: int64(revision)}
}
