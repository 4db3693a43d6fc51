package mvcc

import flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"

// Get reads one key. It refuses with *InvalidError, *TooLargeError,
// *CompactedError or *FutureRevisionError.
func Get(r Reader, st *State, req *flotillav1.GetRequest) (*flotillav1.GetResponse, error) {
	if err := CheckGet(req, HardLimits); err != nil {
		return nil, err
	}
	return view{r: r, st: st, revision: st.Revision}.get(req)
}

// getAnswer is the parts of an answer in one allocation.
type getAnswer struct {
	response flotillav1.GetResponse
	kv       flotillav1.KeyValue
}

func (v view) get(req *flotillav1.GetRequest) (*flotillav1.GetResponse, error) {
	at, err := v.st.readable(req.GetRevision(), v.revision)
	if err != nil {
		return nil, err
	}
	cur, err := lookup(v.r, req.GetKey(), at)
	if err != nil {
		return nil, err
	}
	if !cur.exists {
		return &flotillav1.GetResponse{Revision: uint64(v.revision)}, nil
	}
	if err := v.budget.answer(answerBytes(req.GetKey(), cur.Value)); err != nil {
		return nil, err
	}
	answer := new(getAnswer)
	answer.response.Revision = uint64(v.revision)
	answer.response.Kv = &answer.kv
	copyInto(&answer.kv, req.GetKey(), cur)
	return &answer.response, nil
}

// copyInto sets kv to a copy of a version, its key and value in one allocation.
func copyInto(kv *flotillav1.KeyValue, key []byte, cur current) {
	backing := make([]byte, len(key)+len(cur.Value))
	copy(backing, key)
	copy(backing[len(key):], cur.Value)
	cur.fill(kv, backing[:len(key):len(key)], backing[len(key):], cur.mod)
}

// copyVersion is a copy of a version as the API shows it.
func copyVersion(key []byte, cur current) *flotillav1.KeyValue {
	kv := new(flotillav1.KeyValue)
	copyInto(kv, key, cur)
	return kv
}
