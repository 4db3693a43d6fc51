package model

import (
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// invalid refuses when wrong.
func invalid(wrong bool) error {
	if wrong {
		return &RefusalError{Kind: Invalid}
	}
	return nil
}

func formOfGet(req *flotillav1.GetRequest) error { return invalid(len(req.GetKey()) == 0) }

func formOfRange(req *flotillav1.RangeRequest) error {
	return invalid(backwards(req.GetKeys()) || flotillav1.SortTarget_name[int32(req.GetSortTarget())] == "")
}

func formOfPut(req *flotillav1.PutRequest) error {
	return invalid(len(req.GetKey()) == 0 ||
		req.GetIgnoreValue() && len(req.GetValue()) > 0 ||
		req.GetIgnoreLease() && req.GetLease() != 0 ||
		contradicts(req.GetPrecondition()))
}

func formOfDelete(req *flotillav1.DeleteRequest) error {
	switch req.GetTarget().(type) {
	case *flotillav1.DeleteRequest_Key:
		return invalid(len(req.GetKey()) == 0 || contradicts(req.GetPrecondition()))
	case *flotillav1.DeleteRequest_Range:
		return invalid(backwards(req.GetRange()) || req.GetPrecondition() != nil)
	}
	return invalid(true)
}

func formOfTxn(req *flotillav1.TxnRequest) error {
	for _, c := range req.GetCompare() {
		if err := formOfCompare(c); err != nil {
			return err
		}
	}
	for _, operations := range [][]*flotillav1.TxnOperation{req.GetSuccess(), req.GetFailure()} {
		for _, op := range operations {
			if err := formOfOperation(op); err != nil {
				return err
			}
		}
	}
	return nil
}

func formOfCompare(c *flotillav1.Compare) error {
	switch c.GetSubject().(type) {
	case *flotillav1.Compare_Key:
		return invalid(len(c.GetKey()) == 0 || c.GetTarget() == nil)
	case *flotillav1.Compare_Range:
		return invalid(backwards(c.GetRange()) || c.GetTarget() == nil)
	}
	return invalid(true)
}

// formOfOperation checks an operation, and that it carries nothing that only
// the outermost request may.
func formOfOperation(op *flotillav1.TxnOperation) error {
	var (
		err error
		own interface{ GetNamespace() string }
	)
	switch op := op.GetOperation().(type) {
	case *flotillav1.TxnOperation_Get:
		err, own = formOfGet(op.Get), op.Get
	case *flotillav1.TxnOperation_Range:
		err, own = formOfRange(op.Range), op.Range
	case *flotillav1.TxnOperation_Put:
		err, own = formOfPut(op.Put), op.Put
	case *flotillav1.TxnOperation_Delete:
		err, own = formOfDelete(op.Delete), op.Delete
	case *flotillav1.TxnOperation_Txn:
		err, own = formOfTxn(op.Txn), op.Txn
	default:
		return invalid(true)
	}
	if err != nil {
		return err
	}
	mutation, _ := own.(interface{ GetRequestId() string })
	return invalid(own.GetNamespace() != "" || mutation != nil && mutation.GetRequestId() != "")
}

// backwards says whether a range ends before it starts.
func backwards(r *flotillav1.KeyRange) bool {
	return len(r.GetEnd()) > 0 && string(r.GetEnd()) < string(r.GetStart())
}

// contradicts says whether conditions can never hold together.
func contradicts(p *flotillav1.Precondition) bool {
	if p == nil {
		return false
	}
	mustBeAbsent := p.GetMustNotExist() || p.ModRevision != nil && p.GetModRevision() == 0
	mustBePresent := p.GetMustExist() || p.GetModRevision() != 0
	return mustBeAbsent && mustBePresent
}
