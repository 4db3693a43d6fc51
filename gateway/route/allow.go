package route

import (
	"fmt"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// allow checks what a principal may do against all that a request does, the
// operations inside transactions included. The request was checked before, so
// it is well-formed.
func allow(p *tenancy.Principal, namespace string, req Request) error {
	switch r := req.(type) {
	case *flotillav1.GetRequest:
		return p.Check(tenancy.ActionRead, namespace, tenancy.OneKey(r.GetKey()))
	case *flotillav1.RangeRequest:
		return p.Check(tenancy.ActionRead, namespace, spanOf(r.GetKeys()))
	case *flotillav1.PutRequest:
		return p.Check(writing(r.GetPrevKv()), namespace, tenancy.OneKey(r.GetKey()))
	case *flotillav1.DeleteRequest:
		keys := spanOf(r.GetRange())
		if r.GetRange() == nil {
			keys = tenancy.OneKey(r.GetKey())
		}
		return p.Check(writing(r.GetPrevKv()), namespace, keys)
	case *flotillav1.TxnRequest:
		return allowTxn(p, namespace, r)
	case *flotillav1.CompactRequest:
		return p.Check(tenancy.ActionWrite, namespace, tenancy.AllKeys())
	// A lease may have any of the namespace's keys.
	case *flotillav1.GrantLeaseRequest, *flotillav1.KeepAliveRequest, *flotillav1.RevokeLeaseRequest,
		*flotillav1.GetLeaseRequest, *flotillav1.ListLeasesRequest:
		return p.Check(tenancy.ActionLease, namespace, tenancy.AllKeys())
	default:
		return fmt.Errorf("nothing allows a %T", req)
	}
}

func allowTxn(p *tenancy.Principal, namespace string, txn *flotillav1.TxnRequest) error {
	for _, c := range txn.GetCompare() {
		keys := spanOf(c.GetRange())
		if c.GetRange() == nil {
			keys = tenancy.OneKey(c.GetKey())
		}
		if err := p.Check(tenancy.ActionRead, namespace, keys); err != nil {
			return err
		}
	}
	for _, branch := range [][]*flotillav1.TxnOperation{txn.GetSuccess(), txn.GetFailure()} {
		for _, op := range branch {
			if err := allow(p, namespace, operationOf(op)); err != nil {
				return err
			}
		}
	}
	return nil
}

func operationOf(op *flotillav1.TxnOperation) Request {
	switch o := op.GetOperation().(type) {
	case *flotillav1.TxnOperation_Get:
		return o.Get
	case *flotillav1.TxnOperation_Range:
		return o.Range
	case *flotillav1.TxnOperation_Put:
		return o.Put
	case *flotillav1.TxnOperation_Delete:
		return o.Delete
	case *flotillav1.TxnOperation_Txn:
		return o.Txn
	default:
		return nil
	}
}

// writing is what a write needs; one that answers what it replaced reads too.
func writing(prevKV bool) tenancy.Action {
	if prevKV {
		return tenancy.ActionRead | tenancy.ActionWrite
	}
	return tenancy.ActionWrite
}

// spanOf is the keys of a range; an empty range is no more than its start.
func spanOf(keys *flotillav1.KeyRange) tenancy.Span {
	start, end, empty := mvcc.Bounds(keys)
	if empty {
		return tenancy.OneKey(start)
	}
	return tenancy.Span{Start: start, End: end}
}
