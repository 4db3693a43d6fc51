package model_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// TestKeySpaceAgreesWithModel runs random requests against the key space and
// the model, which must answer alike. After each request it checks what a
// client cannot see: the counters, the history, which lease each key is
// attached to, that a refusal changed nothing, and that what is stored after
// purging is exactly what is still needed.
func TestKeySpaceAgreesWithModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newPair()
		p.quota(t)
		t.Repeat(map[string]func(*rapid.T){
			"":             p.checkState,
			"get":          p.get,
			"range":        p.rangeKeys,
			"pages":        p.pages,
			"put":          p.put,
			"put again":    p.put,
			"delete":       p.delete,
			"txn":          p.txn,
			"txn again":    p.txn,
			"read in txn":  p.readTxn,
			"compact":      p.compact,
			"purge":        p.purge,
			"read history": p.readHistory,
			"quota":        p.quota,
		})
	})
}

func (p *pair) get(t *rapid.T) {
	req := anyGet(t, p.model.Revision())
	compare(t, req, func() (*flotillav1.GetResponse, error) { return mvcc.Get(p.store, &p.state, req) }, p.model.Get)
}

func (p *pair) rangeKeys(t *rapid.T) {
	req := anyRange(t, p.model.Revision())
	keysMax := rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "keys max")
	compare(t, req, func() (*flotillav1.RangeResponse, error) {
		return mvcc.Range(p.store, &p.state, req, mvcc.ReadLimits{KeysMax: keysMax})
	}, func(req *flotillav1.RangeRequest) (*flotillav1.RangeResponse, error) {
		bounded := proto.CloneOf(req)
		if limit := uint64(keysMax); limit > 0 && (req.GetLimit() == 0 || limit < req.GetLimit()) {
			bounded.Limit = limit
		}
		return p.model.Range(bounded)
	})
}

// pages reads a range in pieces, and expects what the model has as one.
func (p *pair) pages(t *rapid.T) {
	req := anyRange(t, p.model.Revision())
	req.Limit, req.SortTarget, req.CountOnly, req.CountTotal = 0, 0, false, false
	whole, err := p.model.Range(req)
	if err != nil {
		t.Skip("refused")
	}
	limits := mvcc.ReadLimits{
		KeysMax:  rapid.IntRange(0, 3).Draw(t, "keys max"),
		BytesMax: rapid.IntRange(1, 3*mvcc.AnswerKeyBytes).Draw(t, "bytes max"),
	}
	var kvs []*flotillav1.KeyValue
	for more := true; more; {
		got, err := mvcc.Range(p.store, &p.state, req, limits)
		if err != nil {
			t.Fatalf("page after %d keys: %v", len(kvs), err)
		}
		kvs, more = append(kvs, got.GetKvs()...), got.GetMore()
		if more && (len(got.GetKvs()) == 0 || len(kvs) > len(whole.GetKvs())) {
			t.Fatalf("%d keys so far, and pages go on", len(kvs))
		}
		req.Revision = got.GetReadRevision()
		if req.GetDescending() {
			req.Keys.End = got.GetNextKey()
		} else {
			req.Keys.Start = got.GetNextKey()
		}
	}
	if diff := cmp.Diff(whole.GetKvs(), kvs, protocmp.Transform(), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("all pages (-model +mvcc):\n%s", diff)
	}
}

func (p *pair) put(t *rapid.T) {
	req := anyPut(t, p.model.Revision())
	mutate(t, p, req, func() (*flotillav1.PutResponse, error) {
		return mvcc.Put(p.store, &p.state, p.hooks, req)
	}, p.model.Put)
}

// quota sets how much may be held from now on; mostly there is no bound.
func (p *pair) quota(t *rapid.T) {
	p.model.KeysMax, p.model.BytesMax = anyQuota(t)
	p.hooks.Bounds = mvcc.Quota{KeysMax: uint64(p.model.KeysMax), StoredBytesMax: uint64(p.model.BytesMax)}
}

func (p *pair) delete(t *rapid.T) {
	req := anyDelete(t, p.model.Revision())
	mutate(t, p, req, func() (*flotillav1.DeleteResponse, error) {
		return mvcc.Delete(p.store, &p.state, p.hooks, req)
	}, p.model.Delete)
}

func (p *pair) txn(t *rapid.T) {
	req := anyTxn(t, p.model.Revision(), 2)
	mutate(t, p, req, func() (*flotillav1.TxnResponse, error) {
		return mvcc.Txn(p.store, &p.state, p.hooks, req)
	}, p.model.Txn)
}

// readTxn runs a transaction that only reads by both ways that there are.
func (p *pair) readTxn(t *rapid.T) {
	req := onlyReads(anyTxn(t, p.model.Revision(), 2))
	if !mvcc.IsReadOnly(req) {
		t.Fatalf("taken for one that writes: %v", req)
	}
	compare(t, req, func() (*flotillav1.TxnResponse, error) {
		return mvcc.ReadTxn(p.store, &p.state, nil, req)
	}, p.model.Txn)
	mutate(t, p, req, func() (*flotillav1.TxnResponse, error) {
		return mvcc.Txn(p.store, &p.state, p.hooks, req)
	}, p.model.Txn)
}

// onlyReads leaves out of a transaction what would write.
func onlyReads(req *flotillav1.TxnRequest) *flotillav1.TxnRequest {
	req.RequestId, req.Fence = "", nil
	for _, operations := range []*[]*flotillav1.TxnOperation{&req.Success, &req.Failure} {
		*operations = slices.DeleteFunc(*operations, func(op *flotillav1.TxnOperation) bool {
			if op.GetTxn() != nil {
				onlyReads(op.GetTxn())
			}
			return op.GetPut() != nil || op.GetDelete() != nil
		})
	}
	return req
}

func (p *pair) compact(t *rapid.T) {
	if !rarely(t, 3, "compact") {
		t.Skip("too often would leave no history to read")
	}
	req := &flotillav1.CompactRequest{Revision: rapid.Uint64Range(0, p.model.Revision()+1).Draw(t, "revision")}
	mutate(t, p, req, func() (*flotillav1.CompactResponse, error) { return mvcc.Compact(&p.state, req) }, p.model.Compact)
}

func (p *pair) purge(t *rapid.T) {
	before := p.state
	result, err := mvcc.Purge(p.store, &p.state, rapid.IntRange(1, 5).Draw(t, "events max"))
	if err != nil {
		t.Fatal(err)
	}
	after := p.state
	after.PurgedRevision = before.PurgedRevision
	if after != before {
		t.Fatalf("purging changed the state: %+v, %+v", before, p.state)
	}
	if result.Done != (p.state.PurgedRevision == p.state.CompactRevision) {
		t.Fatalf("done is %v with state %+v", result.Done, p.state)
	}
	if !result.Done && result.Events == 0 {
		t.Fatal("purging comes no further")
	}
	if result.Done {
		p.checkStored(t)
	}
}

// readHistory reads all keys at some readable revision.
func (p *pair) readHistory(t *rapid.T) {
	p.readAt(t, rapid.Uint64Range(max(p.model.CompactRevision(), 1), p.model.Revision()).Draw(t, "at"))
}

// readAt reads all keys at a revision.
func (p *pair) readAt(t *rapid.T, revision uint64) {
	req := &flotillav1.RangeRequest{Revision: revision}
	compare(t, req, func() (*flotillav1.RangeResponse, error) {
		return mvcc.Range(p.store, &p.state, req, mvcc.ReadLimits{})
	}, p.model.Range)
}
