package mvcc

import (
	"fmt"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// Txn runs a transaction: its operations happen one after another, those of
// nested transactions in their place, and all that is written has the same
// revision. All comparisons, those of nested transactions too, are decided
// before anything is written, as in etcd. Reads see what was written before
// them; a read that names a revision does not. A transaction that writes
// nothing consumes no revision.
//
// A refusal of any operation on the path that is taken refuses the whole. Besides
// those of its operations there are *DuplicateKeyError, *TooLargeError for one that
// would pass the bounds of a transaction, and *tenancy.QuotaError for one after all
// of which the namespace would hold too much.
func Txn(w Writer, st *State, h Hooks, req *flotillav1.TxnRequest) (*flotillav1.TxnResponse, error) {
	return newTxn(w, st, h).execute(req)
}

func (t *txn) execute(req *flotillav1.TxnRequest) (*flotillav1.TxnResponse, error) {
	if err := CheckTxn(req, HardLimits); err != nil {
		return nil, err
	}
	if err := t.decide(req); err != nil {
		return nil, err
	}
	response, err := t.run(req)
	if err != nil {
		return nil, err
	}
	if err := t.commit(); err != nil {
		return nil, err
	}
	return response, nil
}

// txn is a transaction that is running. Its writes are held back until all of
// it has gone well, so that a refusal leaves nothing to undo.
type txn struct {
	w        Writer
	st       *State
	hooks    Hooks
	revision Revision // of its writes

	// decisions are whether the comparisons hold, of the transactions on the
	// path that is taken that have not run yet, in the order in which they run.
	decisions []bool
	set       writeSet
	change    counters
	budget    budget
	// asking is how it is found out whether to go on; nil for one in the log, which
	// always comes to its end.
	asking *asking
	// tombstone is the stored form of one, shared by all deletions.
	tombstone []byte
}

func newTxn(w Writer, st *State, h Hooks) *txn {
	revision := st.Revision + 1
	return &txn{
		w: w, st: st, hooks: h, revision: revision,
		set:       writeSet{base: w, revision: revision},
		tombstone: appendVersion(nil, Version{Tombstone: true}),
	}
}

// view is the key space with what was written so far.
func (t *txn) view() view {
	v := view{r: &t.set, st: t.st, revision: t.st.Revision, budget: &t.budget, asking: t.asking}
	if len(t.set.writes) > 0 {
		v.revision = t.revision
	}
	return v
}

// branch is the operations that a transaction runs.
func branch(req *flotillav1.TxnRequest, succeeded bool) []*flotillav1.TxnOperation {
	if succeeded {
		return req.GetSuccess()
	}
	return req.GetFailure()
}

// decide takes the path through a transaction and those inside it.
func (t *txn) decide(req *flotillav1.TxnRequest) error {
	succeeded, err := t.holdAll(req.GetCompare())
	if err != nil {
		return err
	}
	t.decisions = append(t.decisions, succeeded)
	for _, op := range branch(req, succeeded) {
		if op.GetTxn() == nil {
			continue
		}
		if err := t.decide(op.GetTxn()); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) run(req *flotillav1.TxnRequest) (*flotillav1.TxnResponse, error) {
	if err := checkFence(t.hooks, req.GetFence()); err != nil {
		return nil, err
	}
	succeeded := t.decisions[0]
	t.decisions = t.decisions[1:]
	operations := branch(req, succeeded)
	response := &flotillav1.TxnResponse{
		Succeeded: succeeded,
		Responses: make([]*flotillav1.TxnOperationResponse, len(operations)),
	}
	for i, op := range operations {
		var err error
		if response.Responses[i], err = t.operation(op); err != nil {
			return nil, err
		}
	}
	response.Revision = uint64(t.view().revision)
	return response, nil
}

func (t *txn) operation(op *flotillav1.TxnOperation) (*flotillav1.TxnOperationResponse, error) {
	var (
		response flotillav1.TxnOperationResponse
		err      error
	)
	switch op := op.GetOperation().(type) {
	case *flotillav1.TxnOperation_Get:
		r := new(flotillav1.TxnOperationResponse_Get)
		r.Get, err = t.view().get(op.Get)
		response.Response = r
	case *flotillav1.TxnOperation_Range:
		r := new(flotillav1.TxnOperationResponse_Range)
		r.Range, err = t.view().rangeKeys(op.Range, ReadLimits{})
		response.Response = r
	case *flotillav1.TxnOperation_Put:
		r := new(flotillav1.TxnOperationResponse_Put)
		r.Put, err = t.put(op.Put)
		response.Response = r
	case *flotillav1.TxnOperation_Delete:
		r := new(flotillav1.TxnOperationResponse_Delete)
		r.Delete, err = t.delete(op.Delete)
		response.Response = r
	case *flotillav1.TxnOperation_Txn:
		r := new(flotillav1.TxnOperationResponse_Txn)
		r.Txn, err = t.run(op.Txn)
		response.Response = r
	default: // CheckTxn let it pass
		err = fmt.Errorf("operation %T is not known to this build", op)
	}
	return &response, err
}

// put writes a key within the transaction.
func (t *txn) put(req *flotillav1.PutRequest) (*flotillav1.PutResponse, error) {
	if err := checkPutHooks(t.hooks, req); err != nil {
		return nil, err
	}
	prev, err := replaced(&t.set, req, t.view().revision)
	if err != nil {
		return nil, err
	}
	p, err := planPut(req, prev, t.revision)
	if err != nil {
		return nil, err
	}
	if p.response.PrevKv != nil {
		if err := t.budget.answer(answerBytes(req.GetKey(), p.response.PrevKv.GetValue())); err != nil {
			return nil, err
		}
	}
	t.change.add(p.change)
	t.set.add(write{key: req.GetKey(), stored: p.stored, leaseFrom: p.leaseFrom, leaseTo: p.leaseTo})
	return p.response, nil
}

// commit stores what was written, unless the namespace would hold too much then.
// All other errors are failures of storage.
func (t *txn) commit() error {
	if len(t.set.writes) == 0 {
		return nil
	}
	if err := t.hooks.Quota().check(t.st, t.change); err != nil {
		return err
	}
	for sub, write := range t.set.writes {
		if err := t.w.PutVersion(write.key, t.revision, write.stored); err != nil {
			return err
		}
		if err := t.w.PutEvent(t.revision, uint32(sub), write.key); err != nil {
			return err
		}
		if write.leaseFrom == write.leaseTo {
			continue
		}
		if err := t.hooks.MoveLease(write.key, write.leaseFrom, write.leaseTo); err != nil {
			return err
		}
	}
	t.change.apply(t.st, t.revision)
	return nil
}
