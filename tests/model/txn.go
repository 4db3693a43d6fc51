package model

import (
	"bytes"
	"cmp"
	"fmt"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

func (d *draft) txn(req *flotillav1.TxnRequest) (*flotillav1.TxnResponse, error) {
	if err := d.fence(req.GetFence()); err != nil {
		return nil, err
	}
	response := &flotillav1.TxnResponse{Succeeded: true}
	for _, c := range req.GetCompare() {
		response.Succeeded = response.Succeeded && holds(d.before, c)
	}
	operations := req.GetSuccess()
	if !response.Succeeded {
		operations = req.GetFailure()
	}
	for _, op := range operations {
		answer, err := d.operation(op)
		if err != nil {
			return nil, err
		}
		response.Responses = append(response.Responses, answer)
	}
	response.Revision = d.revision()
	return response, nil
}

func (d *draft) operation(op *flotillav1.TxnOperation) (*flotillav1.TxnOperationResponse, error) {
	switch op := op.GetOperation().(type) {
	case *flotillav1.TxnOperation_Get:
		r, err := d.get(op.Get)
		return &flotillav1.TxnOperationResponse{Response: &flotillav1.TxnOperationResponse_Get{Get: r}}, err
	case *flotillav1.TxnOperation_Range:
		r, err := d.rangeKeys(op.Range)
		return &flotillav1.TxnOperationResponse{Response: &flotillav1.TxnOperationResponse_Range{Range: r}}, err
	case *flotillav1.TxnOperation_Put:
		r, err := d.put(op.Put)
		return &flotillav1.TxnOperationResponse{Response: &flotillav1.TxnOperationResponse_Put{Put: r}}, err
	case *flotillav1.TxnOperation_Delete:
		r, err := d.delete(op.Delete)
		return &flotillav1.TxnOperationResponse{Response: &flotillav1.TxnOperationResponse_Delete{Delete: r}}, err
	case *flotillav1.TxnOperation_Txn:
		r, err := d.txn(op.Txn)
		return &flotillav1.TxnOperationResponse{Response: &flotillav1.TxnOperationResponse_Txn{Txn: r}}, err
	}
	return nil, fmt.Errorf("operation %T is not modelled", op)
}

// holds says whether a comparison holds: over a range, for every key in it, and
// over none as for a key that does not exist.
func holds(keys snapshot, c *flotillav1.Compare) bool {
	if _, one := c.GetSubject().(*flotillav1.Compare_Key); one {
		return matches(c, keys[string(c.GetKey())])
	}
	compared := keys.inOrder(func(key string) bool { return inRange(c.GetRange(), key) })
	for _, kv := range compared {
		if !matches(c, kv) {
			return false
		}
	}
	return len(compared) > 0 || matches(c, nil)
}

// matches compares one key, which is nil when it does not exist.
func matches(c *flotillav1.Compare, kv *flotillav1.KeyValue) bool {
	order := 0
	switch c.GetTarget().(type) {
	case *flotillav1.Compare_Value:
		if kv == nil {
			return false
		}
		order = bytes.Compare(kv.GetValue(), c.GetValue())
	case *flotillav1.Compare_Version:
		order = cmp.Compare(kv.GetVersion(), c.GetVersion())
	case *flotillav1.Compare_CreateRevision:
		order = cmp.Compare(kv.GetCreateRevision(), c.GetCreateRevision())
	case *flotillav1.Compare_ModRevision:
		order = cmp.Compare(kv.GetModRevision(), c.GetModRevision())
	case *flotillav1.Compare_Lease:
		order = cmp.Compare(kv.GetLease(), c.GetLease())
	}
	switch c.GetRelation() {
	case flotillav1.Compare_RELATION_NOT_EQUAL:
		return order != 0
	case flotillav1.Compare_RELATION_LESS:
		return order < 0
	case flotillav1.Compare_RELATION_GREATER:
		return order > 0
	default:
		return order == 0
	}
}

// writesTwice says whether some path through a transaction puts a key twice, or
// puts a key and deletes it.
func writesTwice(req *flotillav1.TxnRequest) bool {
	for _, path := range paths(req) {
		for i, a := range path {
			for _, b := range path[i+1:] {
				if meet(a, b) || meet(b, a) {
					return true
				}
			}
		}
	}
	return false
}

// meet says whether a puts a key that b puts or deletes.
func meet(a, b *flotillav1.TxnOperation) bool {
	if a.GetPut() == nil {
		return false
	}
	key := a.GetPut().GetKey()
	if b.GetPut() != nil {
		return bytes.Equal(key, b.GetPut().GetKey())
	}
	return b.GetDelete() != nil && deletes(b.GetDelete(), string(key))
}

// paths are the operations other than transactions that could run, for every
// way in which all comparisons could turn out.
func paths(req *flotillav1.TxnRequest) [][]*flotillav1.TxnOperation {
	return append(pathsOf(req.GetSuccess()), pathsOf(req.GetFailure())...)
}

func pathsOf(operations []*flotillav1.TxnOperation) [][]*flotillav1.TxnOperation {
	all := [][]*flotillav1.TxnOperation{nil}
	for _, op := range operations {
		continuations := [][]*flotillav1.TxnOperation{{op}}
		if op.GetTxn() != nil {
			continuations = paths(op.GetTxn())
		}
		var longer [][]*flotillav1.TxnOperation
		for _, path := range all {
			for _, continuation := range continuations {
				longer = append(longer, append(append([]*flotillav1.TxnOperation(nil), path...), continuation...))
			}
		}
		all = longer
	}
	return all
}
