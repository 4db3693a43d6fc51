package mvcc

import (
	"bytes"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// footprint is what a list of operations may write, whichever way the
// comparisons of the transactions inside it turn out.
//
// What two operations of a list may write must not meet, except that both may
// delete: no key is put twice, and none is put and deleted, in either order.
// The lists `success` and `failure` of one transaction are alternatives, so they
// may meet each other. This is the rule of etcd, but for two nested
// transactions of which the later deletes what the earlier puts: etcd misses
// them.
type footprint struct {
	puts    [][]byte
	deletes []keySpan
}

// keySpan is the keys of [start, end); an empty end is no upper bound.
type keySpan struct{ start, end []byte }

// checkWrites refuses, with *DuplicateKeyError, a list on one of whose paths a key
// is written twice.
func checkWrites(operations []*flotillav1.TxnOperation) error {
	if len(operations) == 1 && operations[0].GetTxn() == nil {
		return nil // the usual case, and it meets nothing
	}
	_, err := footprintOf(operations)
	return err
}

// footprintOf refuses, with *DuplicateKeyError, a list whose operations meet.
// Their number is bounded, so each pair is looked at.
func footprintOf(operations []*flotillav1.TxnOperation) (footprint, error) {
	var all footprint
	for _, op := range operations {
		one, err := footprintOfOne(op)
		if err != nil {
			return footprint{}, err
		}
		if all.meets(one) {
			return footprint{}, &DuplicateKeyError{}
		}
		all.add(one)
	}
	return all, nil
}

func footprintOfOne(op *flotillav1.TxnOperation) (footprint, error) {
	switch op := op.GetOperation().(type) {
	case *flotillav1.TxnOperation_Put:
		return footprint{puts: [][]byte{op.Put.GetKey()}}, nil
	case *flotillav1.TxnOperation_Delete:
		if start, end, empty := deleteBounds(op.Delete); !empty {
			return footprint{deletes: []keySpan{{start: start, end: end}}}, nil
		}
	case *flotillav1.TxnOperation_Txn:
		success, err := footprintOf(op.Txn.GetSuccess())
		if err != nil {
			return footprint{}, err
		}
		failure, err := footprintOf(op.Txn.GetFailure())
		success.add(failure)
		return success, err
	}
	return footprint{}, nil
}

// deleteBounds are the keys that a request deletes.
func deleteBounds(req *flotillav1.DeleteRequest) (start, end []byte, empty bool) {
	if _, isRange := req.GetTarget().(*flotillav1.DeleteRequest_Range); isRange {
		return Bounds(req.GetRange())
	}
	key := req.GetKey()
	return key, append(bytes.Clone(key), 0), false
}

func (f *footprint) add(other footprint) {
	f.puts = append(f.puts, other.puts...)
	f.deletes = append(f.deletes, other.deletes...)
}

// meets says whether both put a key, or one puts a key that the other deletes.
func (f *footprint) meets(other footprint) bool {
	return f.putsSame(other) || f.putsInto(other) || other.putsInto(*f)
}

func (f *footprint) putsSame(other footprint) bool {
	for _, a := range f.puts {
		for _, b := range other.puts {
			if bytes.Equal(a, b) {
				return true
			}
		}
	}
	return false
}

// putsInto says whether it puts a key that other deletes.
func (f *footprint) putsInto(other footprint) bool {
	for _, key := range f.puts {
		for _, span := range other.deletes {
			if within(key, span.start, span.end) {
				return true
			}
		}
	}
	return false
}
