package model

import (
	"bytes"
	"cmp"
	"slices"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

func (d *draft) rangeKeys(req *flotillav1.RangeRequest) (*flotillav1.RangeResponse, error) {
	keys, err := d.read(req.GetRevision())
	if err != nil {
		return nil, err
	}
	kvs := keys.inOrder(func(key string) bool { return inRange(req.GetKeys(), key) })
	response := &flotillav1.RangeResponse{
		Revision:     d.revision(),
		ReadRevision: cmp.Or(req.GetRevision(), d.revision()),
	}
	if req.GetCountOnly() || req.GetCountTotal() {
		response.Count = uint64(len(kvs))
	}
	if req.GetCountOnly() {
		return response, nil
	}
	kvs = slices.DeleteFunc(kvs, func(kv *flotillav1.KeyValue) bool { return filtered(req, kv) })
	sortBy(req, kvs)
	if limit := req.GetLimit(); limit > 0 && uint64(len(kvs)) > limit {
		kvs = kvs[:limit]
		response.More = true
		response.NextKey = nextKey(req, kvs[limit-1].GetKey())
	}
	if req.GetKeysOnly() {
		for _, kv := range kvs {
			kv.Value = nil
		}
	}
	response.Kvs = kvs
	return response, nil
}

// filtered says whether a revision filter leaves a key out.
func filtered(req *flotillav1.RangeRequest, kv *flotillav1.KeyValue) bool {
	return kv.GetModRevision() < req.GetMinModRevision() ||
		req.GetMaxModRevision() != 0 && kv.GetModRevision() > req.GetMaxModRevision() ||
		kv.GetCreateRevision() < req.GetMinCreateRevision() ||
		req.GetMaxCreateRevision() != 0 && kv.GetCreateRevision() > req.GetMaxCreateRevision()
}

// byKey says whether an answer is in key order.
func byKey(req *flotillav1.RangeRequest) bool {
	return req.GetSortTarget() <= flotillav1.SortTarget_SORT_TARGET_KEY
}

// sortBy orders keys that are in key order, which stays the order among equals.
func sortBy(req *flotillav1.RangeRequest, kvs []*flotillav1.KeyValue) {
	slices.SortStableFunc(kvs, func(a, b *flotillav1.KeyValue) int {
		if req.GetDescending() {
			a, b = b, a
		}
		switch req.GetSortTarget() {
		case flotillav1.SortTarget_SORT_TARGET_VERSION:
			return cmp.Compare(a.GetVersion(), b.GetVersion())
		case flotillav1.SortTarget_SORT_TARGET_CREATE_REVISION:
			return cmp.Compare(a.GetCreateRevision(), b.GetCreateRevision())
		case flotillav1.SortTarget_SORT_TARGET_MOD_REVISION:
			return cmp.Compare(a.GetModRevision(), b.GetModRevision())
		case flotillav1.SortTarget_SORT_TARGET_VALUE:
			return bytes.Compare(a.GetValue(), b.GetValue())
		default:
			return bytes.Compare(a.GetKey(), b.GetKey())
		}
	})
}

// nextKey is where to continue after the last key of an answer.
func nextKey(req *flotillav1.RangeRequest, last []byte) []byte {
	switch {
	case !byKey(req):
		return nil
	case req.GetDescending():
		return last
	default:
		return append(bytes.Clone(last), 0)
	}
}
