package mvcc

import flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"

// Delete removes one key or the keys of a range, up to TxnKeysMax. Removing
// nothing consumes no revision.
//
// It refuses with *InvalidError, *TooLargeError, ErrFencingTokenStale,
// ErrKeyNotFound, ErrKeyExists or *RevisionMismatchError.
func Delete(w Writer, st *State, h Hooks, req *flotillav1.DeleteRequest) (*flotillav1.DeleteResponse, error) {
	if err := CheckDelete(req, HardLimits); err != nil {
		return nil, err
	}
	t := newTxn(w, st, h)
	response, err := t.delete(req)
	if err != nil {
		return nil, err
	}
	if err := t.commit(); err != nil {
		return nil, err
	}
	return response, nil
}

// delete removes keys within the transaction.
func (t *txn) delete(req *flotillav1.DeleteRequest) (*flotillav1.DeleteResponse, error) {
	if err := checkFence(t.hooks, req.GetFence()); err != nil {
		return nil, err
	}
	d := deletion{txn: t, answerKeys: req.GetPrevKv()}
	if err := d.collect(req); err != nil {
		return nil, err
	}
	t.set.add(d.writes...)
	return &flotillav1.DeleteResponse{
		Revision: uint64(t.view().revision),
		Deleted:  uint64(len(d.writes)),
		PrevKvs:  d.prevKvs,
	}, nil
}

// deletion gathers what one request removes. It is added to the transaction's
// writes afterwards, because a range is read through them.
type deletion struct {
	txn        *txn
	answerKeys bool

	arena   arena
	writes  []write
	prevKvs []*flotillav1.KeyValue
}

func (d *deletion) collect(req *flotillav1.DeleteRequest) error {
	v := d.txn.view()
	if _, isRange := req.GetTarget().(*flotillav1.DeleteRequest_Range); isRange {
		start, end, empty := Bounds(req.GetRange())
		if empty {
			return nil
		}
		return v.walk(start, end, v.revision, false, d.visit)
	}
	cur, err := d.present(req.GetKey(), v.revision)
	if err != nil {
		return err
	}
	if err := checkPrecondition(req.GetPrecondition(), cur); err != nil {
		return err
	}
	if !cur.exists {
		return nil
	}
	return d.remove(req.GetKey(), cur)
}

// present finds a key's newest version, with its value only if the answer
// shows it.
func (d *deletion) present(key []byte, newest Revision) (current, error) {
	if d.answerKeys {
		return lookup(&d.txn.set, key, newest)
	}
	return lookupHead(&d.txn.set, key)
}

// visit removes one key of a range.
func (d *deletion) visit(key []byte, cur current) (more bool, err error) {
	if err := d.txn.budget.remove(key); err != nil {
		return false, err
	}
	return true, d.remove(d.arena.copy(key), cur)
}

// remove plans a tombstone; it keeps key, and nothing of cur's value.
func (d *deletion) remove(key []byte, cur current) error {
	d.txn.change.removed(key, cur.valueBytes)
	d.writes = append(d.writes, write{key: key, stored: d.txn.tombstone, leaseFrom: cur.Lease})
	if !d.answerKeys {
		return nil
	}
	if err := d.txn.budget.answer(answerBytes(key, cur.Value)); err != nil {
		return err
	}
	d.prevKvs = append(d.prevKvs, d.arena.keyValue(key, cur, false))
	return nil
}
