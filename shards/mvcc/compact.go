package mvcc

import flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"

// Compact drops the revisions below the requested one: from now on they are
// refused, and Purge reclaims their space. It refuses with *InvalidError,
// *CompactedError when it was compacted so far already, or
// *FutureRevisionError.
func Compact(st *State, req *flotillav1.CompactRequest) (*flotillav1.CompactResponse, error) {
	if err := CheckCompact(req, HardLimits); err != nil {
		return nil, err
	}
	revision := Revision(req.GetRevision())
	switch {
	case revision > st.Revision:
		return nil, &FutureRevisionError{Revision: st.Revision}
	case revision <= st.CompactRevision:
		return nil, &CompactedError{CompactRevision: st.CompactRevision}
	}
	st.CompactRevision = revision
	return &flotillav1.CompactResponse{
		Revision:        uint64(st.Revision),
		CompactRevision: uint64(st.CompactRevision),
	}, nil
}
