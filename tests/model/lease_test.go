package model_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/store/storetest"
	"github.com/flotillakv/flotilla/tests/model"
)

// TestLeasesAgreeWithModel runs random requests and the passing of time against
// a machine over a store and the model, which must answer alike. After each it
// compares all that is stored of leases and keys. Now and then the machine is
// loaded anew from its rows.
func TestLeasesAgreeWithModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newLeasedPair(t)
		defer p.close()
		p.quota(t)
		// More steps than t.Repeat makes, because a lease takes some to begin,
		// to get keys, to be renewed and to end.
		steps := []func(*rapid.T){
			p.grant, p.grant, p.keepAlive, p.revoke, p.expire, p.expire, p.expire,
			p.put, p.put, p.put, p.txn, p.delete, p.load, p.quota,
		}
		for _, step := range rapid.SliceOfN(rapid.IntRange(0, len(steps)-1), 40, 80).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "time passes") {
				p.nowMS += rapid.SampledFrom([]uint64{1, 249, 250, 500, 1000, 2000}).Draw(t, "ms")
			}
			steps[step](t)
			p.check(t)
		}
	})
}

// leasedPair is the machine and the model of one run, with one namespace.
type leasedPair struct {
	t       *rapid.T
	store   *store.Store
	rows    *store.Shard
	machine *machine.Machine
	index   uint64
	nowMS   uint64
	model   *model.Leased
}

const leasedNamespace = 5

func newLeasedPair(t *rapid.T) *leasedPair {
	st, err := store.Open(storetest.NewDisk().Config())
	if err != nil {
		t.Fatal(err)
	}
	p := &leasedPair{t: t, store: st, rows: st.Shard(1), model: model.NewLeased()}
	p.load(t)
	return p
}

func (p *leasedPair) close() {
	if err := p.store.Close(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *leasedPair) load(t *rapid.T) {
	view := p.rows.NewView()
	p.machine = machine.New()
	_, err := p.machine.Load(view)
	if closeErr := view.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
}

// apply runs a command as a log entry of its own.
func (p *leasedPair) apply(t *rapid.T, c *internalv1.Command) (proto.Message, error) {
	c.NamespaceId, c.Epoch = leasedNamespace, 1
	encoded, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	entry := machine.AppendCommand(machine.AppendHeader(nil, machine.Header{ClockMS: p.nowMS}), encoded)
	p.index++
	batch := p.rows.NewBatch()
	results, err := p.machine.Apply(batch, p.index, entry, nil)
	if err == nil {
		_, err = p.machine.Finish(batch, nil)
	}
	if err == nil {
		err = batch.Commit()
	}
	if closeErr := batch.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	p.machine.NextExpiry() // as a replica does: it must not change anything
	return results[0].Response, results[0].Err
}

// compareCommand expects the machine to answer a command as the model does.
func compareCommand[Req, Res proto.Message](t *rapid.T, p *leasedPair, req Req, c *internalv1.Command, specified func(Req) (Res, error)) {
	t.Helper()
	compare(t, req, func() (res Res, err error) {
		response, err := p.apply(t, c)
		if err != nil {
			return res, err
		}
		res, ok := response.(Res)
		if !ok {
			t.Fatalf("the answer is a %T", response)
		}
		return res, nil
	}, specified)
}

func anyLease(t *rapid.T) int64 {
	return rapid.SampledFrom([]int64{1, 2, 3, 4, 1, 2, 0}).Draw(t, "lease")
}

func (p *leasedPair) grant(t *rapid.T) {
	req := &flotillav1.GrantLeaseRequest{Id: anyLease(t), Ttl: &durationpb.Duration{
		Seconds: rapid.SampledFrom([]int64{1, 1, 1, 2, 2, 0}).Draw(t, "ttl"), Nanos: rapid.SampledFrom([]int32{0, 0, 1}).Draw(t, "nanos"),
	}}
	c := &internalv1.Command{Operation: &internalv1.Command_GrantLease{
		GrantLease: &internalv1.GrantLease{Request: req, LeasesMax: 10},
	}}
	compareCommand(t, p, req, c, func(req *flotillav1.GrantLeaseRequest) (*flotillav1.GrantLeaseResponse, error) {
		return p.model.GrantLease(p.nowMS, req)
	})
}

func (p *leasedPair) keepAlive(t *rapid.T) {
	req := &flotillav1.KeepAliveRequest{Ids: rapid.SliceOfN(rapid.Int64Range(0, 4), 0, 6).Draw(t, "leases")}
	c := &internalv1.Command{Operation: &internalv1.Command_KeepAlive{KeepAlive: req}}
	compareCommand(t, p, req, c, func(req *flotillav1.KeepAliveRequest) (*flotillav1.KeepAliveResponse, error) {
		return p.model.KeepAlive(p.nowMS, req)
	})
}

func (p *leasedPair) revoke(t *rapid.T) {
	req := &flotillav1.RevokeLeaseRequest{Id: anyLease(t)}
	c := &internalv1.Command{Operation: &internalv1.Command_RevokeLease{RevokeLease: req}}
	compareCommand(t, p, req, c, p.model.RevokeLease)
}

func (p *leasedPair) put(t *rapid.T) {
	req := anyPut(t, p.model.Revision())
	req.Fence = nil
	if req.GetLease() != 0 {
		req.Lease = anyLease(t)
	}
	compareCommand(t, p, req, p.bounded(&internalv1.Command{Operation: &internalv1.Command_Put{Put: req}}), p.model.Put)
}

func (p *leasedPair) delete(t *rapid.T) {
	req := anyDelete(t, p.model.Revision())
	req.Fence = nil
	compareCommand(t, p, req, &internalv1.Command{Operation: &internalv1.Command_Delete{Delete: req}}, p.model.Delete)
}

// txn puts or deletes a key if it is on a lease.
func (p *leasedPair) txn(t *rapid.T) {
	key := anyKey().Draw(t, "key")
	req := &flotillav1.TxnRequest{
		Compare: []*flotillav1.Compare{{
			Subject: &flotillav1.Compare_Key{Key: key}, Target: &flotillav1.Compare_Lease{Lease: anyLease(t)},
			Relation: flotillav1.Compare_Relation(rapid.Int32Range(0, 4).Draw(t, "relation")),
		}},
		Success: []*flotillav1.TxnOperation{{Operation: &flotillav1.TxnOperation_Put{
			Put: &flotillav1.PutRequest{Key: key, Lease: anyLease(t)},
		}}},
		Failure: []*flotillav1.TxnOperation{{Operation: &flotillav1.TxnOperation_Delete{
			Delete: &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: key}},
		}}},
	}
	compareCommand(t, p, req, p.bounded(&internalv1.Command{Operation: &internalv1.Command_Txn{Txn: req}}), p.model.Txn)
}

// quota sets how much may be held from now on.
func (p *leasedPair) quota(t *rapid.T) { p.model.KeysMax, p.model.BytesMax = anyQuota(t) }

// bounded is a command that says how much may be held.
func (p *leasedPair) bounded(c *internalv1.Command) *internalv1.Command {
	c.KeysMax, c.StoredBytesMax = uint64(p.model.KeysMax), uint64(p.model.BytesMax)
	return c
}

// expire ends all that is due, in commands of any size.
func (p *leasedPair) expire(t *rapid.T) {
	bounds := &internalv1.ExpireLeases{
		LeasesMax: rapid.Uint32Range(1, 3).Draw(t, "leases max"), KeysMax: rapid.Uint32Range(0, 3).Draw(t, "keys max"),
	}
	var leases, keys uint64
	for more := true; more; {
		response, err := p.apply(t, &internalv1.Command{Operation: &internalv1.Command_ExpireLeases{ExpireLeases: bounds}})
		expired, ok := response.(*internalv1.ExpireLeasesResponse)
		if err != nil || !ok {
			t.Fatalf("expire: %v, %v", response, err)
		}
		if n := expired.GetLeases(); n > uint64(bounds.GetLeasesMax()) || (n > 1 && expired.GetKeys() > uint64(bounds.GetKeysMax())) {
			t.Fatalf("%v is more than %v", expired, bounds)
		}
		leases, keys, more = leases+expired.GetLeases(), keys+expired.GetKeys(), expired.GetMore()
	}
	wantLeases, wantKeys := p.model.ExpireLeases(p.nowMS)
	if leases != uint64(wantLeases) || keys != uint64(wantKeys) {
		t.Fatalf("%d leases with %d keys ended, want %d with %d", leases, keys, wantLeases, wantKeys)
	}
}

// check compares what is stored.
func (p *leasedPair) check(t *rapid.T) {
	view := p.rows.NewView()
	defer func() {
		if err := view.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	state := mvcc.NewState()
	row, ok, err := view.Row(machine.TableState, leasedNamespace, nil)
	if ok && err == nil {
		state, err = machine.DecodeNamespaceState(row)
	}
	if err != nil {
		t.Fatal(err)
	}
	found, err := mvcc.Range(view.Namespace(leasedNamespace), &state, &flotillav1.RangeRequest{}, mvcc.ReadLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.model.Keys(), found.GetKvs(), protocmp.Transform()); diff != "" {
		t.Fatalf("keys (-model +machine):\n%s", diff)
	}
	if uint64(state.Revision) != p.model.Revision() {
		t.Fatalf("revision %d, want %d", state.Revision, p.model.Revision())
	}
	type attached map[int64][]string
	want, got := attached{}, attached{}
	for _, id := range p.model.LeaseIDs() {
		want[id] = p.model.LeaseKeys(id)
	}
	it := view.Rows(machine.TableLeases, 0, nil, nil)
	for it.Next() {
		_, id, err := machine.DecodeLeaseKey(it.Key())
		if err != nil {
			t.Fatal(err)
		}
		got[id] = nil
		value, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		lease, err := machine.DecodeLease(value)
		if err != nil || lease.Keys != uint64(len(want[id])) {
			t.Fatalf("lease %d is stored as %+v (%v), and has the keys %q", id, lease, err, want[id])
		}
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	for id := range int64(5) {
		start, end := machine.LeaseKeysRange(id)
		it := view.Rows(machine.TableLeaseKeys, leasedNamespace, start, end)
		for it.Next() {
			got[id] = append(got[id], string(machine.AttachedKey(it.Key())))
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("leases and their keys (-model +machine):\n%s", diff)
	}
}
