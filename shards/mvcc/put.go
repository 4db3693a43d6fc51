package mvcc

import flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"

// Put writes one key. Of all requests it is the most frequent one, so it goes
// its own short way: one version is read, one version and one event are
// written.
//
// It refuses with *InvalidError, *TooLargeError, ErrFencingTokenStale,
// ErrLeaseNotFound, ErrKeyNotFound, ErrKeyExists, *RevisionMismatchError or
// *tenancy.QuotaError, in this order.
func Put(w Writer, st *State, h Hooks, req *flotillav1.PutRequest) (*flotillav1.PutResponse, error) {
	if err := CheckPut(req, HardLimits); err != nil {
		return nil, err
	}
	if err := checkPutHooks(h, req); err != nil {
		return nil, err
	}
	key, revision := req.GetKey(), st.Revision+1
	prev, err := replaced(w, req, st.Revision)
	if err != nil {
		return nil, err
	}
	p, err := planPut(req, prev, revision)
	if err != nil {
		return nil, err
	}
	if err := h.Quota().check(st, p.change); err != nil {
		return nil, err
	}
	if err := w.PutVersion(key, revision, p.stored); err != nil {
		return nil, err
	}
	if err := w.PutEvent(revision, 0, key); err != nil {
		return nil, err
	}
	if p.leaseFrom != p.leaseTo {
		if err := h.MoveLease(key, p.leaseFrom, p.leaseTo); err != nil {
			return nil, err
		}
	}
	p.change.apply(st, revision)
	return p.response, nil
}

// checkPutHooks asks what a put needs from outside of the key space. It comes
// before the key is read: answering may use the same storage.
func checkPutHooks(h Hooks, req *flotillav1.PutRequest) error {
	if err := checkFence(h, req.GetFence()); err != nil {
		return err
	}
	if req.GetLease() == 0 {
		return nil
	}
	return h.CheckLease(req.GetLease())
}

// replaced finds the version that a put replaces; its value only if the put
// needs it, because the rest is found without reading storage, mostly.
func replaced(r headReader, req *flotillav1.PutRequest, newest Revision) (current, error) {
	if req.GetPrevKv() || req.GetIgnoreValue() {
		return lookup(r, req.GetKey(), newest)
	}
	return lookupHead(r, req.GetKey())
}

// putPlan is what a put will do.
type putPlan struct {
	stored             []byte // the encoded version
	leaseFrom, leaseTo int64
	change             counters
	response           *flotillav1.PutResponse
}

// planPut works out what a put at revision does to the key's current version,
// which replaced found. Nothing in the plan shares prev's value.
func planPut(req *flotillav1.PutRequest, prev current, revision Revision) (putPlan, error) {
	if err := checkPrecondition(req.GetPrecondition(), prev); err != nil {
		return putPlan{}, err
	}
	if (req.GetIgnoreValue() || req.GetIgnoreLease()) && !prev.exists {
		return putPlan{}, ErrKeyNotFound
	}
	next := Version{CreateRevision: revision, Version: 1, Lease: req.GetLease(), Value: req.GetValue()}
	if prev.exists {
		next.CreateRevision, next.Version = prev.CreateRevision, prev.Version.Version+1
	}
	if req.GetIgnoreValue() {
		next.Value = prev.Value
	}
	if req.GetIgnoreLease() {
		next.Lease = prev.Lease
	}

	p := putPlan{
		stored:    appendVersion(make([]byte, 0, next.encodedBytesMax()), next),
		leaseFrom: prev.Lease,
		leaseTo:   next.Lease,
		response:  &flotillav1.PutResponse{Revision: uint64(revision)},
	}
	if prev.exists {
		p.change.removed(req.GetKey(), prev.valueBytes)
		if req.GetPrevKv() {
			p.response.PrevKv = copyVersion(req.GetKey(), prev)
		}
	}
	p.change.created(req.GetKey(), len(next.Value))
	return p, nil
}
