package mvcc

import (
	"bytes"
	"cmp"
	"slices"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// page gathers one answer of a range.
type page struct {
	req      *flotillav1.RangeRequest
	keysMax  uint64 // 0 is no bound
	bytesMax int    // 0 is no bound
	// budget is of the transaction that asks, which needs the answer whole;
	// otherwise nil.
	budget *budget

	arena arena
	kvs   []*flotillav1.KeyValue
	bytes int // of kvs, as ReadLimits counts them
	count uint64
	more  bool
}

func newPage(req *flotillav1.RangeRequest, lim ReadLimits, b *budget) *page {
	p := &page{req: req, keysMax: req.GetLimit(), bytesMax: lim.BytesMax, budget: b}
	if bound := uint64(lim.KeysMax); bound > 0 && (p.keysMax == 0 || bound < p.keysMax) {
		p.keysMax = bound
	}
	return p
}

// visitCounting counts the keys of the range, for an answer without them.
func (p *page) visitCounting([]byte, current) (more bool, err error) {
	p.count++
	return true, nil
}

// visitInOrder adds the next key of an answer in key order. The first key that
// finds no room proves that there is more; from then on keys are only counted.
func (p *page) visitInOrder(key []byte, cur current) (more bool, err error) {
	p.count++
	if p.more {
		return true, nil
	}
	if !passes(p.req, cur) {
		return true, nil
	}
	size := p.size(key, cur)
	if p.full(size) {
		p.more = true
		return p.req.GetCountTotal(), nil
	}
	if err := p.budget.answer(size); err != nil {
		return false, err
	}
	p.add(key, cur, p.req.GetKeysOnly(), size)
	return true, nil
}

// visitToSort holds a key of an answer in another order. What it is ordered by
// is held too, even if it is not answered.
func (p *page) visitToSort(key []byte, cur current) (more bool, err error) {
	p.count++
	if !passes(p.req, cur) {
		return true, nil
	}
	keysOnly := p.req.GetKeysOnly() && p.req.GetSortTarget() != flotillav1.SortTarget_SORT_TARGET_VALUE
	size := answerBytes(key, cur.Value)
	if keysOnly {
		size = answerBytes(key, nil)
	}
	p.add(key, cur, keysOnly, size)
	if len(p.kvs) > SortKeysMax {
		return false, &TooLargeError{Limit: "sort_keys_max", Value: uint64(len(p.kvs)), Max: SortKeysMax}
	}
	if p.bytes > SortBytesMax {
		return false, &TooLargeError{Limit: "sort_bytes_max", Value: uint64(p.bytes), Max: SortBytesMax}
	}
	return true, nil
}

// size is what a key counts against the bounds of the answer.
func (p *page) size(key []byte, cur current) int {
	if p.req.GetKeysOnly() {
		return answerBytes(key, nil)
	}
	return answerBytes(key, cur.Value)
}

// full says whether a key of that size finds no room. The first one always
// does, or an answer could stay empty for ever.
func (p *page) full(size int) bool {
	if p.keysMax > 0 && uint64(len(p.kvs)) >= p.keysMax {
		return true
	}
	return p.bytesMax > 0 && len(p.kvs) > 0 && p.bytes+size > p.bytesMax
}

func (p *page) add(key []byte, cur current, keysOnly bool, size int) {
	p.kvs = append(p.kvs, p.arena.keyValue(key, cur, keysOnly))
	p.bytes += size
}

// finish fills the response with what was gathered.
func (p *page) finish(response *flotillav1.RangeResponse) error {
	if !inKeyOrder(p.req) && !p.req.GetCountOnly() {
		if err := p.sort(); err != nil {
			return err
		}
	}
	response.Kvs, response.More = p.kvs, p.more
	if p.req.GetCountOnly() || p.req.GetCountTotal() {
		response.Count = p.count
	}
	if p.more && inKeyOrder(p.req) {
		response.NextKey = p.nextKey()
	}
	return nil
}

// nextKey is where the next page continues: after the last key, which upwards
// is its successor, and downwards the key itself, because an end is exclusive.
func (p *page) nextKey() []byte {
	last := p.kvs[len(p.kvs)-1].GetKey()
	if p.req.GetDescending() {
		return bytes.Clone(last)
	}
	return append(bytes.Clone(last), 0)
}

// sort orders what was gathered, and then cuts it to the answer's bounds.
func (p *page) sort() error {
	order := ordering(p.req.GetSortTarget())
	if p.req.GetDescending() {
		ascending := order
		order = func(a, b *flotillav1.KeyValue) int { return ascending(b, a) }
	}
	slices.SortStableFunc(p.kvs, order) // gathered in key order, which decides between equals
	gathered := p.kvs
	p.kvs, p.bytes = gathered[:0], 0
	for _, kv := range gathered {
		if p.req.GetKeysOnly() {
			kv.Value = nil
		}
		size := answerBytes(kv.GetKey(), kv.GetValue())
		if p.full(size) {
			p.more = true
			break
		}
		if err := p.budget.answer(size); err != nil {
			return err
		}
		p.kvs, p.bytes = append(p.kvs, kv), p.bytes+size
	}
	clear(gathered[len(p.kvs):])
	return nil
}

// ordering compares by one field, the least first.
func ordering(target flotillav1.SortTarget) func(a, b *flotillav1.KeyValue) int {
	switch target {
	case flotillav1.SortTarget_SORT_TARGET_VERSION:
		return func(a, b *flotillav1.KeyValue) int { return cmp.Compare(a.GetVersion(), b.GetVersion()) }
	case flotillav1.SortTarget_SORT_TARGET_CREATE_REVISION:
		return func(a, b *flotillav1.KeyValue) int { return cmp.Compare(a.GetCreateRevision(), b.GetCreateRevision()) }
	case flotillav1.SortTarget_SORT_TARGET_MOD_REVISION:
		return func(a, b *flotillav1.KeyValue) int { return cmp.Compare(a.GetModRevision(), b.GetModRevision()) }
	case flotillav1.SortTarget_SORT_TARGET_VALUE:
		return func(a, b *flotillav1.KeyValue) int { return bytes.Compare(a.GetValue(), b.GetValue()) }
	case flotillav1.SortTarget_SORT_TARGET_UNSPECIFIED, flotillav1.SortTarget_SORT_TARGET_KEY:
	}
	return func(a, b *flotillav1.KeyValue) int { return bytes.Compare(a.GetKey(), b.GetKey()) }
}
