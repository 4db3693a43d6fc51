package model_test

import (
	"testing"

	"pgregory.net/rapid"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// TestPurgingKeepsWhatCanBeRead writes, compacts and purges in small pieces,
// many times over. After each piece every readable revision must read as in the
// model, and its history be there; writes go on in between.
func TestPurgingKeepsWhatCanBeRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newPair()
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			for range rapid.IntRange(1, 8).Draw(t, "writes") {
				p.writeSomething(t)
			}
			if p.model.CompactRevision() < p.model.Revision() {
				req := &flotillav1.CompactRequest{
					Revision: rapid.Uint64Range(p.model.CompactRevision()+1, p.model.Revision()).Draw(t, "compact"),
				}
				mutate(t, p, req, func() (*flotillav1.CompactResponse, error) { return mvcc.Compact(&p.state, req) }, p.model.Compact)
			}
			for range rapid.IntRange(0, 6).Draw(t, "pieces") {
				p.purge(t)
				p.checkState(t)
				for at := max(p.model.CompactRevision(), 1); at <= p.model.Revision(); at++ {
					p.readAt(t, at)
				}
				if rarely(t, 4, "write in between") {
					p.writeSomething(t)
				}
			}
		}
		for p.state.PurgedRevision < p.state.CompactRevision {
			p.purge(t)
		}
		p.checkStored(t)
	})
}

// writeSomething runs a transaction that is not refused.
func (p *pair) writeSomething(t *rapid.T) {
	req := &flotillav1.TxnRequest{}
	for _, key := range rapid.SliceOfNDistinct(anyKey(), 1, 5, func(key []byte) string { return string(key) }).Draw(t, "keys") {
		op := &flotillav1.TxnOperation{}
		if rarely(t, 3, "delete") {
			op.Operation = &flotillav1.TxnOperation_Delete{Delete: &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: key}}}
		} else {
			op.Operation = &flotillav1.TxnOperation_Put{Put: &flotillav1.PutRequest{Key: key, Value: anyValue().Draw(t, "value")}}
		}
		req.Success = append(req.Success, op)
	}
	mutate(t, p, req, func() (*flotillav1.TxnResponse, error) {
		return mvcc.Txn(p.store, &p.state, p.hooks, req)
	}, p.model.Txn)
}
