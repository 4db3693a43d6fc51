package mvcc

import (
	"errors"
	"math"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// IsReadOnly tells whether a transaction can be answered from a state alone:
// it writes on none of its paths, has no fence, and no request id whose answer
// would have to be kept.
func IsReadOnly(req *flotillav1.TxnRequest) bool {
	if req.GetRequestId() != "" || req.GetFence() != nil {
		return false
	}
	for _, operations := range [][]*flotillav1.TxnOperation{req.GetSuccess(), req.GetFailure()} {
		for _, op := range operations {
			switch op := op.GetOperation().(type) {
			case *flotillav1.TxnOperation_Get, *flotillav1.TxnOperation_Range:
			case *flotillav1.TxnOperation_Txn:
				if !IsReadOnly(op.Txn) {
					return false
				}
			default:
				return false
			}
		}
	}
	return true
}

// ReadTxn runs a transaction for which IsReadOnly holds, with the answer that Txn
// would give. It refuses as Txn does. interrupted is as in ReadLimits,
// with all ranges of the transaction taken together.
func ReadTxn(r Reader, st *State, interrupted func() error, req *flotillav1.TxnRequest) (*flotillav1.TxnResponse, error) {
	t := newTxn(readOnly{r}, st, nil)
	t.asking = newAsking(interrupted)
	return t.execute(req)
}

// readOnly is a Reader in the place of a Writer that nobody writes to.
type readOnly struct{ Reader }

var errReadOnly = errors.New("a transaction that only reads has written")

// Head implements Writer.
func (r readOnly) Head(key []byte) (Head, error) {
	rev, stored, ok, err := r.Version(key, math.MaxUint64)
	if err != nil || !ok {
		return Head{}, err
	}
	return HeadOf(rev, stored)
}

func (readOnly) PutVersion([]byte, Revision, []byte) error { return errReadOnly }
func (readOnly) DeleteVersion([]byte, Revision) error      { return errReadOnly }
func (readOnly) PutEvent(Revision, uint32, []byte) error   { return errReadOnly }
func (readOnly) DeleteEvent(Revision, uint32) error        { return errReadOnly }
