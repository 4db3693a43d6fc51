package machine

import (
	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// scope is where a command runs: its namespace, within the batch.
type scope struct {
	m     *Machine
	batch Batch
	id    tenancy.NamespaceID
	ns    *namespace
	quota mvcc.Quota
}

// mutation is a request that may carry a request id.
type mutation interface {
	proto.Message
	GetRequestId() string
}

// mutate runs a command that changes a namespace: it checks the ownership,
// answers a request that was applied before from its kept answer, and keeps
// the answer of a new one.
func mutate[R mutation, A proto.Message](
	m *Machine, b Batch, c *internalv1.Command, req R, kind requestKind,
	apply func(*scope, R) (A, error),
) (proto.Message, error) {
	id := tenancy.NamespaceID(c.GetNamespaceId())
	ns, err := m.owned(b, id, c.GetEpoch())
	if err != nil {
		return nil, err
	}
	var digest requestDigest
	if req.GetRequestId() != "" {
		digest = digestOf(id, req.GetRequestId())
		if answer, err := m.requests.find(b, digest, kind); answer != nil || err != nil {
			return answer, err
		}
	}
	before := ns.state
	response, err := apply(&scope{m: m, batch: b, id: id, ns: ns, quota: quotaOf(c)}, req)
	if err != nil {
		return nil, err
	}
	if err := m.changed(b, ns, before); err != nil {
		return nil, err
	}
	if req.GetRequestId() != "" {
		m.requests.keep(id, digest, kind, ns.state.Revision, response)
	}
	return response, nil
}

// changed notes what follows from a change of a namespace's counters.
func (m *Machine) changed(b Batch, ns *namespace, before mvcc.State) error {
	m.namespaces.touch(ns)
	if ns.state.Revision != before.Revision {
		if err := m.noteAge(b, ns.id, ns, before.Revision); err != nil {
			return err
		}
	}
	return m.account(b, ns, before.LiveBytes)
}

// owned returns the counters of a command's namespace, or refuses the command
// because its route is old.
func (m *Machine) owned(b Batch, id tenancy.NamespaceID, epoch uint64) (*namespace, error) {
	if id == shardRows && m.shard.GetLevel() >= levelFairAnswers {
		return nil, &mvcc.InvalidError{Field: "namespace_id", Message: "must be set"}
	}
	ns, err := m.namespaces.get(b, id)
	switch {
	case err != nil:
		return nil, err
	case ns.drop != nil:
		return nil, &WrongEpochError{Epoch: ns.epoch}
	case epoch == ns.epoch:
		return ns, nil
	}
	if err := ns.claim(epoch); err != nil {
		return nil, err
	}
	// Also if the command is refused: were the new epoch in memory alone, a
	// replica that starts again would judge older commands differently (R4).
	m.namespaces.touch(ns)
	return ns, nil
}

func putKey(s *scope, req *flotillav1.PutRequest) (*flotillav1.PutResponse, error) {
	return mvcc.Put(s.batch.Namespace(s.id), &s.ns.state, s, req)
}

func deleteKeys(s *scope, req *flotillav1.DeleteRequest) (*flotillav1.DeleteResponse, error) {
	return mvcc.Delete(s.batch.Namespace(s.id), &s.ns.state, s, req)
}

func runTxn(s *scope, req *flotillav1.TxnRequest) (*flotillav1.TxnResponse, error) {
	return mvcc.Txn(s.batch.Namespace(s.id), &s.ns.state, s, req)
}

func quotaOf(c *internalv1.Command) mvcc.Quota {
	return mvcc.Quota{KeysMax: c.GetKeysMax(), StoredBytesMax: c.GetStoredBytesMax()}
}

// Quota implements mvcc.Hooks: what ends leases has none.
func (s *scope) Quota() mvcc.Quota { return s.quota }

// CheckFence implements mvcc.Hooks. A fence names a lock, and a lock that
// nobody holds fences out every token.
func (s *scope) CheckFence(*flotillav1.Fence) error { return mvcc.ErrFencingTokenStale }

// CheckLease implements mvcc.Hooks: see lease_attach.go.
func (s *scope) CheckLease(id int64) error { return s.m.checkAttach(leaseName{s.id, id}) }

// MoveLease implements mvcc.Hooks: see lease_attach.go.
func (s *scope) MoveLease(key []byte, from, to int64) error {
	return s.m.moveLease(s.batch, s.id, key, from, to)
}
