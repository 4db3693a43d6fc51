package model_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/mvcc/mvcctest"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tests/model"
)

// pair is the key space and the model of one run.
type pair struct {
	store *mvcctest.Store
	hooks *mvcctest.Hooks
	state mvcc.State
	model *model.Model
}

func newPair() *pair {
	p := &pair{store: mvcctest.NewStore(), hooks: mvcctest.NewHooks(7, -8), state: mvcc.NewState(), model: model.New()}
	p.model.Leases[7], p.model.Leases[-8] = true, true
	p.hooks.Tokens["held"], p.model.Tokens["held"] = 5, 5
	return p
}

// compare expects both to answer alike.
func compare[Req, Res proto.Message](t *rapid.T, req Req, run func() (Res, error), specified func(Req) (Res, error)) {
	t.Helper()
	want, wantErr := specified(proto.CloneOf(req))
	got, err := run()
	if refusalOf(t, err) != refusalOf(t, wantErr) {
		t.Fatalf("%v\nmodel: %v\n mvcc: %v", req, wantErr, err)
	}
	if err != nil {
		return
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Fatalf("%v\n(-model +mvcc):\n%s", req, diff)
	}
}

// mutate is compare, and expects a refusal to change nothing.
func mutate[Req, Res proto.Message](t *rapid.T, p *pair, req Req, run func() (Res, error), specified func(Req) (Res, error)) {
	t.Helper()
	stateBefore := p.state
	versionsBefore, eventsBefore := p.store.Contents()
	refused := false
	compare(t, req, func() (Res, error) {
		res, err := run()
		refused = err != nil
		return res, err
	}, specified)
	if !refused {
		return
	}
	versions, events := p.store.Contents()
	if p.state != stateBefore || !slices.Equal(versions, versionsBefore) || !slices.Equal(events, eventsBefore) {
		t.Fatalf("%v\nwas refused and changed something", req)
	}
}

// refusalOf says in the model's words why a request was refused.
func refusalOf(t *rapid.T, err error) model.RefusalError {
	t.Helper()
	var (
		refusal    *model.RefusalError
		mismatch   *mvcc.RevisionMismatchError
		compacted  *mvcc.CompactedError
		future     *mvcc.FutureRevisionError
		invalid    *mvcc.InvalidError
		duplicate  *mvcc.DuplicateKeyError
		quota      *tenancy.QuotaError
		kindOfMVCC = map[error]model.Kind{
			mvcc.ErrKeyNotFound:       model.KeyNotFound,
			mvcc.ErrKeyExists:         model.KeyExists,
			mvcc.ErrLeaseNotFound:     model.LeaseNotFound,
			mvcc.ErrLeaseExists:       model.LeaseExists,
			mvcc.ErrFencingTokenStale: model.FencingTokenStale,
		}
	)
	switch {
	case err == nil:
		return model.RefusalError{}
	case errors.As(err, &refusal):
		return *refusal
	case !mvcc.IsRefusal(err):
		t.Fatalf("failure of storage: %v", err)
	case errors.As(err, &mismatch):
		return model.RefusalError{Kind: model.RevisionMismatch, Revision: uint64(mismatch.Actual)}
	case errors.As(err, &compacted):
		return model.RefusalError{Kind: model.Compacted, Revision: uint64(compacted.CompactRevision)}
	case errors.As(err, &future):
		return model.RefusalError{Kind: model.Future, Revision: uint64(future.Revision)}
	case errors.As(err, &invalid):
		return model.RefusalError{Kind: model.Invalid}
	case errors.As(err, &duplicate):
		return model.RefusalError{Kind: model.DuplicateKey}
	case errors.As(err, &quota) && quota.Limit == "keys_max":
		return model.RefusalError{Kind: model.KeysQuota}
	case errors.As(err, &quota) && quota.Limit == "stored_bytes_max":
		return model.RefusalError{Kind: model.BytesQuota}
	case kindOfMVCC[err] != "":
		return model.RefusalError{Kind: kindOfMVCC[err]}
	}
	return model.RefusalError{Kind: model.Kind(fmt.Sprintf("unexpected %T", err))}
}

func (p *pair) checkState(t *rapid.T) {
	want := mvcc.State{
		Revision:        mvcc.Revision(p.model.Revision()),
		CompactRevision: mvcc.Revision(p.model.CompactRevision()),
		PurgedRevision:  p.state.PurgedRevision,
	}
	attached := map[string]int64{}
	for _, kv := range p.model.Keys() {
		want.Keys++
		want.LiveBytes += uint64(len(kv.GetKey()) + len(kv.GetValue()))
		if kv.GetLease() != 0 {
			attached[string(kv.GetKey())] = kv.GetLease()
		}
	}
	if p.state != want {
		t.Fatalf("state is %+v, the model's is %+v", p.state, want)
	}
	if p.state.PurgedRevision > p.state.CompactRevision {
		t.Fatalf("purged further than compacted: %+v", p.state)
	}
	if diff := cmp.Diff(attached, p.hooks.Attached); diff != "" {
		t.Fatalf("leases of keys (-model +mvcc):\n%s", diff)
	}
	_, events := p.store.Contents()
	readable := func(e mvcctest.StoredEvent) bool { return e.Revision >= p.state.CompactRevision }
	if diff := cmp.Diff(p.historyFrom(p.model.CompactRevision()), keep(events, readable)); diff != "" {
		t.Fatalf("history (-model +mvcc):\n%s", diff)
	}
}

// historyFrom is the model's history as it should be stored.
func (p *pair) historyFrom(revision uint64) []mvcctest.StoredEvent {
	events := []mvcctest.StoredEvent{}
	for r := max(revision, 1); r <= p.model.Revision(); r++ {
		for sub, key := range p.model.Changes(r) {
			events = append(events, mvcctest.StoredEvent{Revision: mvcc.Revision(r), Sub: uint32(sub), Key: key})
		}
	}
	return events
}

// checkStored expects, once purging is done, exactly what can still be read:
// per key its versions after the compact revision, the newest one at or below
// it unless that is a tombstone of an earlier revision; and no older history.
func (p *pair) checkStored(t *rapid.T) {
	type stored struct {
		Key      string
		Revision uint64
	}
	compact := p.model.CompactRevision()
	needed := map[stored]bool{}
	for _, e := range p.historyFrom(compact) {
		needed[stored{e.Key, uint64(e.Revision)}] = true
	}
	for _, kv := range p.modelKeysAt(t, max(compact, 1)) {
		needed[stored{string(kv.GetKey()), kv.GetModRevision()}] = true
	}
	versions, events := p.store.Contents()
	found := map[stored]bool{}
	for _, v := range versions {
		found[stored{v.Key, uint64(v.Revision)}] = true
	}
	if diff := cmp.Diff(needed, found); diff != "" {
		t.Fatalf("versions after purging (-needed +stored):\n%s", diff)
	}
	if diff := cmp.Diff(p.historyFrom(compact), keep(events, func(mvcctest.StoredEvent) bool { return true })); diff != "" {
		t.Fatalf("history after purging (-needed +stored):\n%s", diff)
	}
}

func (p *pair) modelKeysAt(t *rapid.T, revision uint64) []*flotillav1.KeyValue {
	res, err := p.model.Range(&flotillav1.RangeRequest{Revision: revision})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetKvs()
}

// keep is the events that ok says; never nil.
func keep(events []mvcctest.StoredEvent, ok func(mvcctest.StoredEvent) bool) []mvcctest.StoredEvent {
	kept := []mvcctest.StoredEvent{}
	for _, e := range events {
		if ok(e) {
			kept = append(kept, e)
		}
	}
	return kept
}
