package model_test

import (
	"bytes"

	"pgregory.net/rapid"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// Few keys, so that requests meet: prefixes of each other, neighbours, and the
// ends of the key space.
func anyKey() *rapid.Generator[[]byte] {
	return rapid.Map(rapid.SampledFrom([]string{"\x00", "a", "a\x00", "aa", "ab", "a\xff", "b", "ba", "c", "\xff", "\xff\xff"}), bytesOf)
}

func anyBound() *rapid.Generator[[]byte] {
	return rapid.OneOf(rapid.Just([]byte(nil)), rapid.Just([]byte(nil)), anyKey())
}

func anyValue() *rapid.Generator[[]byte] {
	return rapid.Map(rapid.SampledFrom([]string{"", "x", "y", "longer"}), bytesOf)
}

func bytesOf(s string) []byte { return []byte(s) }

// rarely is true about once in n times.
func rarely(t *rapid.T, n int, label string) bool { return rapid.IntRange(1, n).Draw(t, label) == n }

// anyQuota is a bound of keys, and one of bytes; 0 is none.
func anyQuota(t *rapid.T) (keysMax, bytesMax int) {
	return rapid.SampledFrom([]int{0, 0, 2, 4, 6}).Draw(t, "keys max"), rapid.SampledFrom([]int{0, 0, 6, 12, 30}).Draw(t, "bytes max")
}

// anyRevision is one to read at: mostly 0, else around those that there are.
func anyRevision(t *rapid.T, newest uint64) uint64 {
	if !rarely(t, 4, "old") {
		return 0
	}
	if rarely(t, 8, "any") {
		return rapid.Uint64Range(1, newest+1).Draw(t, "revision")
	}
	return newest - rapid.Uint64Range(0, min(newest-1, 5)).Draw(t, "age")
}

func anyKeyRange(t *rapid.T) *flotillav1.KeyRange {
	r := &flotillav1.KeyRange{
		Prefix: rapid.SampledFrom([][]byte{nil, nil, []byte("a"), []byte("\xff"), []byte("b")}).Draw(t, "prefix"),
		Start:  anyBound().Draw(t, "start"),
		End:    anyBound().Draw(t, "end"),
	}
	if len(r.GetEnd()) > 0 && bytes.Compare(r.GetStart(), r.GetEnd()) > 0 && !rarely(t, 6, "backwards") {
		r.Start, r.End = r.GetEnd(), r.GetStart()
	}
	return r
}

func anyGet(t *rapid.T, newest uint64) *flotillav1.GetRequest {
	return &flotillav1.GetRequest{Key: anyKey().Draw(t, "key"), Revision: anyRevision(t, newest)}
}

func anyRange(t *rapid.T, newest uint64) *flotillav1.RangeRequest {
	filter := func(label string) uint64 {
		if !rarely(t, 6, label) {
			return 0
		}
		return rapid.Uint64Range(0, newest+1).Draw(t, label+" revision")
	}
	return &flotillav1.RangeRequest{
		Keys:              anyKeyRange(t),
		Revision:          anyRevision(t, newest),
		Limit:             rapid.Uint64Range(0, 4).Draw(t, "limit"),
		SortTarget:        flotillav1.SortTarget(rapid.SampledFrom([]int32{0, 0, 0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6}).Draw(t, "sort")),
		Descending:        rapid.Bool().Draw(t, "descending"),
		KeysOnly:          rarely(t, 4, "keys only"),
		CountOnly:         rarely(t, 8, "count only"),
		CountTotal:        rarely(t, 3, "count total"),
		MinModRevision:    filter("min mod"),
		MaxModRevision:    filter("max mod"),
		MinCreateRevision: filter("min create"),
		MaxCreateRevision: filter("max create"),
	}
}

func anyPut(t *rapid.T, newest uint64) *flotillav1.PutRequest {
	req := &flotillav1.PutRequest{
		Key:          anyKey().Draw(t, "key"),
		PrevKv:       rapid.Bool().Draw(t, "prev kv"),
		IgnoreValue:  rarely(t, 12, "ignore value"),
		IgnoreLease:  rarely(t, 12, "ignore lease"),
		Precondition: anyPrecondition(t, newest),
		Fence:        anyFence(t),
	}
	if !req.GetIgnoreValue() || rarely(t, 10, "and it is given") {
		req.Value = anyValue().Draw(t, "value")
	}
	if !req.GetIgnoreLease() || rarely(t, 10, "and it is given") {
		req.Lease = rapid.SampledFrom([]int64{0, 0, 0, 0, 0, 0, 7, 7, -8, -8, 404}).Draw(t, "lease")
	}
	return req
}

func anyDelete(t *rapid.T, newest uint64) *flotillav1.DeleteRequest {
	req := &flotillav1.DeleteRequest{PrevKv: rapid.Bool().Draw(t, "prev kv"), Fence: anyFence(t)}
	if !rarely(t, 3, "range") {
		req.Target = &flotillav1.DeleteRequest_Key{Key: anyKey().Draw(t, "key")}
		req.Precondition = anyPrecondition(t, newest)
		return req
	}
	req.Target = &flotillav1.DeleteRequest_Range{Range: anyKeyRange(t)}
	return req
}

func anyPrecondition(t *rapid.T, newest uint64) *flotillav1.Precondition {
	if !rarely(t, 12, "precondition") {
		return nil
	}
	p := &flotillav1.Precondition{
		MustExist:    rarely(t, 4, "must exist"),
		MustNotExist: rarely(t, 4, "must not exist"),
	}
	if rapid.Bool().Draw(t, "expect") {
		p.ModRevision = new(rapid.Uint64Range(0, newest).Draw(t, "mod revision"))
	}
	return p
}

func anyFence(t *rapid.T) *flotillav1.Fence {
	if !rarely(t, 16, "fence") {
		return nil
	}
	return &flotillav1.Fence{Lock: rapid.SampledFrom([]string{"held", "held", "free"}).Draw(t, "lock"), Token: rapid.Uint64Range(4, 5).Draw(t, "token")}
}

func anyCompare(t *rapid.T, newest uint64) *flotillav1.Compare {
	c := &flotillav1.Compare{Relation: flotillav1.Compare_Relation(rapid.Int32Range(0, 4).Draw(t, "relation"))}
	if rapid.Bool().Draw(t, "one key") {
		c.Subject = &flotillav1.Compare_Key{Key: anyKey().Draw(t, "key")}
	} else {
		c.Subject = &flotillav1.Compare_Range{Range: anyKeyRange(t)}
	}
	switch rapid.IntRange(0, 4).Draw(t, "target") {
	case 0:
		c.Target = &flotillav1.Compare_Value{Value: anyValue().Draw(t, "value")}
	case 1:
		c.Target = &flotillav1.Compare_Version{Version: rapid.Uint64Range(0, 3).Draw(t, "version")}
	case 2:
		c.Target = &flotillav1.Compare_CreateRevision{CreateRevision: rapid.Uint64Range(0, newest+1).Draw(t, "create")}
	case 3:
		c.Target = &flotillav1.Compare_ModRevision{ModRevision: rapid.Uint64Range(0, newest+1).Draw(t, "mod")}
	case 4:
		c.Target = &flotillav1.Compare_Lease{Lease: rapid.SampledFrom([]int64{0, 7, -8}).Draw(t, "lease")}
	}
	return c
}

// anyTxn nests no deeper than depth.
func anyTxn(t *rapid.T, newest uint64, depth int) *flotillav1.TxnRequest {
	req := &flotillav1.TxnRequest{Fence: anyFence(t)}
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		req.Compare = append(req.Compare, anyCompare(t, newest))
	}
	for range rapid.IntRange(0, 6).Draw(t, "success") {
		req.Success = append(req.Success, anyOperation(t, newest, depth))
	}
	for range rapid.IntRange(0, 2).Draw(t, "failure") {
		req.Failure = append(req.Failure, anyOperation(t, newest, depth))
	}
	return req
}

func anyOperation(t *rapid.T, newest uint64, depth int) *flotillav1.TxnOperation {
	kinds := 4
	if depth > 0 {
		kinds = 5
	}
	switch rapid.IntRange(1, kinds).Draw(t, "operation") {
	case 1:
		return &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Get{Get: anyGet(t, newest)}}
	case 2:
		return &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Range{Range: anyRange(t, newest)}}
	case 3:
		return &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Put{Put: anyPut(t, newest)}}
	case 4:
		return &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Delete{Delete: anyDelete(t, newest)}}
	}
	return &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Txn{Txn: anyTxn(t, newest, depth-1)}}
}
