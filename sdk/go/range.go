package flotilla

import (
	"context"
	"iter"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// KeyRange is the keys that satisfy all the bounds that are set; the zero
// value is every key.
type KeyRange struct {
	// Prefix is what the keys begin with.
	Prefix string
	// Start is the first key that may be in it.
	Start string
	// End is the first key after it.
	End string
}

// Prefix is the keys that begin with a prefix.
func Prefix(prefix string) KeyRange { return KeyRange{Prefix: prefix} }

// AllKeys is every key of the namespace.
func AllKeys() KeyRange { return KeyRange{} }

func (r KeyRange) size() int { return len(r.Prefix) + len(r.Start) + len(r.End) }

func (r KeyRange) proto() *flotillav1.KeyRange {
	return &flotillav1.KeyRange{Prefix: []byte(r.Prefix), Start: []byte(r.Start), End: []byte(r.End)}
}

// Order is what a range is ordered by.
type Order = flotillav1.SortTarget

// The orders of a range.
const (
	ByKey            Order = flotillav1.SortTarget_SORT_TARGET_KEY
	ByVersion        Order = flotillav1.SortTarget_SORT_TARGET_VERSION
	ByCreateRevision Order = flotillav1.SortTarget_SORT_TARGET_CREATE_REVISION
	ByModRevision    Order = flotillav1.SortTarget_SORT_TARGET_MOD_REVISION
	ByValue          Order = flotillav1.SortTarget_SORT_TARGET_VALUE
)

// RangeOptions says how to read a range. The zero value is all its keys with
// their values, by key, as of one revision: the newest when it begins.
type RangeOptions struct {
	// Limit is how many keys to read at most; 0 is all.
	Limit uint64
	// Revision is what to read at; 0 is the newest.
	Revision uint64
	// Serializable reads a replica that may lag.
	Serializable bool
	// OrderBy is the order; by key unless it is set. Any other order comes in
	// one part, which the server bounds: beyond it the last thing is
	// ErrTooLarge.
	OrderBy Order
	// Descending puts the greatest first.
	Descending bool
	// KeysOnly leaves the values out.
	KeysOnly bool
	// MinModRevision and its like leave out the keys beyond them; 0 is no
	// bound.
	MinModRevision, MaxModRevision, MinCreateRevision, MaxCreateRevision uint64
}

func (o *RangeOptions) request(keys KeyRange) *flotillav1.RangeRequest {
	return &flotillav1.RangeRequest{
		Keys: keys.proto(), Limit: o.Limit, Revision: o.Revision, Serializable: o.Serializable,
		SortTarget: o.OrderBy, Descending: o.Descending, KeysOnly: o.KeysOnly,
		MinModRevision: o.MinModRevision, MaxModRevision: o.MaxModRevision,
		MinCreateRevision: o.MinCreateRevision, MaxCreateRevision: o.MaxCreateRevision,
	}
}

// Range visits the keys of a range, as of one revision however large it is. It
// asks for a part at a time; breaking off the loop asks for no more. An error
// is the last thing that it yields.
//
//	for kv, err := range kv.Range(ctx, flotilla.Prefix("config/"), nil) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(kv.Key)
//	}
func (k *KV) Range(ctx context.Context, keys KeyRange, opts *RangeOptions) iter.Seq2[*KeyValue, error] {
	if opts == nil {
		opts = &RangeOptions{}
	}
	return func(yield func(*KeyValue, error) bool) {
		rest := *opts
		for {
			page, err := k.rangePage(ctx, rest.request(keys))
			if err != nil {
				yield(nil, err)
				return
			}
			for _, kv := range page.GetKvs() {
				if !yield(keyValue(kv), nil) {
					return
				}
			}
			if !page.GetMore() {
				return
			}
			if rest.Limit != 0 {
				if rest.Limit -= uint64(len(page.GetKvs())); rest.Limit == 0 {
					return
				}
			}
			if len(page.GetNextKey()) == 0 {
				yield(nil, tooManyToOrder())
				return
			}
			rest.Revision = page.GetReadRevision()
			if rest.Descending {
				keys.End = string(page.GetNextKey())
			} else {
				keys.Start = string(page.GetNextKey())
			}
		}
	}
}

// Count is the number of keys in a range, without reading them.
func (k *KV) Count(ctx context.Context, keys KeyRange, opts *GetOptions) (uint64, error) {
	if opts == nil {
		opts = &GetOptions{}
	}
	page, err := k.rangePage(ctx, &flotillav1.RangeRequest{
		Keys: keys.proto(), CountOnly: true, Revision: opts.Revision, Serializable: opts.Serializable,
	})
	return page.GetCount(), err
}

func (k *KV) rangePage(ctx context.Context, req *flotillav1.RangeRequest) (*flotillav1.RangeResponse, error) {
	req.Namespace = k.namespace
	result, err := k.do(ctx, &flotillav1.Operation{Operation: &flotillav1.Operation_Range{Range: req}}, 64)
	if err != nil {
		return nil, err
	}
	return result.GetRange(), nil
}
