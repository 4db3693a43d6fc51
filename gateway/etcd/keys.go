package etcd

import (
	"bytes"

	"go.etcd.io/etcd/api/v3/mvccpb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// isFromKey says whether a range end means "all keys from the first one on".
func isFromKey(end []byte) bool { return len(end) == 1 && end[0] == 0 }

// keyRange is the keys of [key, end) as etcd means them: an end of "\x00" is no
// upper bound, and an end that is not after the key leaves none.
func keyRange(key, end []byte) *flotillav1.KeyRange {
	switch {
	case isFromKey(end):
		return &flotillav1.KeyRange{Start: key}
	case bytes.Compare(key, end) > 0:
		return &flotillav1.KeyRange{Start: key, End: key}
	}
	return &flotillav1.KeyRange{Start: key, End: end}
}

// oneOrRange is keyRange, or the range of a single key when there is no end.
func oneOrRange(key, end []byte) *flotillav1.KeyRange {
	if len(end) > 0 {
		return keyRange(key, end)
	}
	after := make([]byte, len(key)+1)
	copy(after, key)
	return &flotillav1.KeyRange{Start: key, End: after}
}

// keyValue is a key as etcd shows it; it shares the bytes.
func keyValue(kv *flotillav1.KeyValue) *mvccpb.KeyValue {
	if kv == nil {
		return nil
	}
	out := new(mvccpb.KeyValue)
	fillKeyValue(out, kv)
	return out
}

func fillKeyValue(out *mvccpb.KeyValue, kv *flotillav1.KeyValue) {
	out.Key, out.Value = kv.GetKey(), kv.GetValue()
	out.CreateRevision, out.ModRevision = int64(kv.GetCreateRevision()), int64(kv.GetModRevision())
	out.Version, out.Lease = int64(kv.GetVersion()), kv.GetLease()
}

// appendKeyValues appends keys as etcd shows them.
func appendKeyValues(list []*mvccpb.KeyValue, kvs []*flotillav1.KeyValue) []*mvccpb.KeyValue {
	backing := make([]mvccpb.KeyValue, len(kvs))
	for i, kv := range kvs {
		fillKeyValue(&backing[i], kv)
		list = append(list, &backing[i])
	}
	return list
}
