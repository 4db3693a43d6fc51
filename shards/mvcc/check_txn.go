package mvcc

import (
	"fmt"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// CheckTxn checks the form of a transaction and of all its operations, and
// that no path through it writes a key twice: see footprint.
func CheckTxn(req *flotillav1.TxnRequest, lim Limits) error {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return err
	}
	c := txnChecker{lim: lim}
	if err := c.txn(req, lim.TxnOperationsMax); err != nil {
		return err
	}
	if err := checkWrites(req.GetSuccess()); err != nil {
		return err
	}
	return checkWrites(req.GetFailure())
}

// txnChecker checks the form of a transaction with all those inside it.
type txnChecker struct {
	lim Limits
	// total is the operations counted so far.
	total int
}

// txn checks a transaction none of whose lists may be longer than left. What
// is nested gets what the longest list leaves, so each level uses up at least
// one: nesting is no deeper than the limit.
func (c *txnChecker) txn(req *flotillav1.TxnRequest, left int) error {
	longest := max(len(req.GetCompare()), len(req.GetSuccess()), len(req.GetFailure()))
	if longest > left {
		most := c.lim.TxnOperationsMax
		return &TooLargeError{Limit: "txn_operations_max", Value: uint64(most - left + longest), Max: uint64(most)}
	}
	c.total += len(req.GetSuccess()) + len(req.GetFailure())
	if err := checkSize("txn_operations_total_max", c.total, TxnOperationsTotalMax); err != nil {
		return err
	}
	for i, compare := range req.GetCompare() {
		if err := c.compare(compare); err != nil {
			return inField(fmt.Sprintf("compare[%d]", i), err)
		}
	}
	if err := c.operations("success", req.GetSuccess(), left-longest); err != nil {
		return err
	}
	return c.operations("failure", req.GetFailure(), left-longest)
}

func (c *txnChecker) compare(compare *flotillav1.Compare) error {
	switch subject := compare.GetSubject().(type) {
	case *flotillav1.Compare_Key:
		if err := checkKey(subject.Key, c.lim); err != nil {
			return err
		}
	case *flotillav1.Compare_Range:
		if err := checkKeyRange(subject.Range, c.lim); err != nil {
			return inField("range", err)
		}
	default:
		return &InvalidError{Field: "subject", Message: "one of key and range must be set"}
	}
	switch target := compare.GetTarget().(type) {
	case nil:
		return &InvalidError{Field: "target", Message: "one of value, version, create_revision, mod_revision and lease must be set"}
	case *flotillav1.Compare_Value:
		if err := checkSize("value_bytes_max", len(target.Value), c.lim.ValueBytesMax); err != nil {
			return err
		}
	}
	return checkEnum("relation", flotillav1.Compare_Relation_name, int32(compare.GetRelation()))
}

// operations checks the list of that name. Transactions in it have lists no
// longer than left.
func (c *txnChecker) operations(list string, operations []*flotillav1.TxnOperation, left int) error {
	for i, op := range operations {
		if err := c.operation(op, left); err != nil {
			return inField(fmt.Sprintf("%s[%d]", list, i), err)
		}
	}
	return nil
}

func (c *txnChecker) operation(op *flotillav1.TxnOperation, left int) error {
	switch op := op.GetOperation().(type) {
	case *flotillav1.TxnOperation_Get:
		return inField("get", c.inside(op.Get, CheckGet(op.Get, c.lim)))
	case *flotillav1.TxnOperation_Range:
		return inField("range", c.inside(op.Range, CheckRange(op.Range, c.lim)))
	case *flotillav1.TxnOperation_Put:
		return inField("put", c.inside(op.Put, CheckPut(op.Put, c.lim)))
	case *flotillav1.TxnOperation_Delete:
		return inField("delete", c.inside(op.Delete, CheckDelete(op.Delete, c.lim)))
	case *flotillav1.TxnOperation_Txn:
		return inField("txn", c.inside(op.Txn, c.txn(op.Txn, left)))
	}
	return &InvalidError{Field: "operation", Message: "one must be set"}
}

// inside refuses what only the outermost request may carry, besides what the
// check of the operation itself refuses.
func (c *txnChecker) inside(req interface{ GetNamespace() string }, err error) error {
	if err != nil {
		return err
	}
	if req.GetNamespace() != "" {
		return &InvalidError{Field: "namespace", Message: "must be empty inside a transaction"}
	}
	if m, ok := req.(interface{ GetRequestId() string }); ok && m.GetRequestId() != "" {
		return &InvalidError{Field: "request_id", Message: "must be empty inside a transaction"}
	}
	return nil
}
