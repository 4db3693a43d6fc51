package mvcc

import (
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// Range reads the keys of a range.
//
// As in etcd, revision filters leave keys out of the answer but not out of
// `count`, the limit counts the keys that pass them, and it is applied after
// ordering. Keys that are equal in what they are ordered by come in key order,
// `descending` or not. `more` is exact: there is at least one key more that
// passes the filters.
//
// It refuses with *InvalidError, *CompactedError, *FutureRevisionError, or
// *TooLargeError when more than SortKeysMax or SortBytesMax are to be ordered
// by something other than the key.
func Range(r Reader, st *State, req *flotillav1.RangeRequest, lim ReadLimits) (*flotillav1.RangeResponse, error) {
	if err := CheckRange(req, HardLimits); err != nil {
		return nil, err
	}
	return view{r: r, st: st, revision: st.Revision, asking: newAsking(lim.Interrupted)}.rangeKeys(req, lim)
}

func (v view) rangeKeys(req *flotillav1.RangeRequest, lim ReadLimits) (*flotillav1.RangeResponse, error) {
	at, err := v.st.readable(req.GetRevision(), v.revision)
	if err != nil {
		return nil, err
	}
	response := &flotillav1.RangeResponse{Revision: uint64(v.revision), ReadRevision: uint64(at)}
	start, end, empty := Bounds(req.GetKeys())
	if empty {
		return response, nil
	}
	p := newPage(req, lim, v.budget)
	visit := p.visitInOrder
	descending := req.GetDescending()
	switch {
	case req.GetCountOnly():
		visit = p.visitCounting
	case !inKeyOrder(req):
		visit, descending = p.visitToSort, false
	}
	if err := v.walk(start, end, at, descending, visit); err != nil {
		return nil, err
	}
	if err := p.finish(response); err != nil {
		return nil, err
	}
	return response, nil
}

// inKeyOrder says whether the answer is in key order, up or down.
func inKeyOrder(req *flotillav1.RangeRequest) bool {
	target := req.GetSortTarget()
	return target == flotillav1.SortTarget_SORT_TARGET_UNSPECIFIED || target == flotillav1.SortTarget_SORT_TARGET_KEY
}

// passes applies the revision filters.
func passes(req *flotillav1.RangeRequest, cur current) bool {
	return inBounds(uint64(cur.mod), req.GetMinModRevision(), req.GetMaxModRevision()) &&
		inBounds(uint64(cur.CreateRevision), req.GetMinCreateRevision(), req.GetMaxCreateRevision())
}

// inBounds says whether least <= n <= most, where 0 is no bound.
func inBounds(n, least, most uint64) bool { return n >= least && (most == 0 || n <= most) }
