package model

import (
	"bytes"
	"strings"

	"google.golang.org/protobuf/proto"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// draft is the state while one request runs.
type draft struct {
	model *Model
	// before is the keys as the request found them.
	before  snapshot
	keys    snapshot
	changes []string
}

// revision is the newest one: the next, once something was changed.
func (d *draft) revision() uint64 {
	if len(d.changes) > 0 {
		return d.model.Revision() + 1
	}
	return d.model.Revision()
}

// read is the keys at a revision, which is 0 for the newest.
func (d *draft) read(revision uint64) (snapshot, error) {
	switch {
	case revision == 0:
		return d.keys, nil
	case revision > d.model.Revision():
		return nil, &RefusalError{Kind: Future, Revision: d.model.Revision()}
	case revision < d.model.compact:
		return nil, &RefusalError{Kind: Compacted, Revision: d.model.compact}
	}
	return d.model.snapshots[revision], nil
}

func (d *draft) get(req *flotillav1.GetRequest) (*flotillav1.GetResponse, error) {
	keys, err := d.read(req.GetRevision())
	if err != nil {
		return nil, err
	}
	return &flotillav1.GetResponse{Revision: d.revision(), Kv: copyOf(keys[string(req.GetKey())])}, nil
}

func (d *draft) put(req *flotillav1.PutRequest) (*flotillav1.PutResponse, error) {
	key := string(req.GetKey())
	prev := d.keys[key]
	if err := d.fence(req.GetFence()); err != nil {
		return nil, err
	}
	if req.GetLease() != 0 && !d.model.Leases[req.GetLease()] {
		return nil, &RefusalError{Kind: LeaseNotFound}
	}
	if err := precondition(req.GetPrecondition(), prev); err != nil {
		return nil, err
	}
	if prev == nil && (req.GetIgnoreValue() || req.GetIgnoreLease()) {
		return nil, &RefusalError{Kind: KeyNotFound}
	}

	revision := d.model.Revision() + 1
	next := &flotillav1.KeyValue{
		Key: req.GetKey(), Value: req.GetValue(), Lease: req.GetLease(),
		CreateRevision: revision, ModRevision: revision, Version: 1,
	}
	if prev != nil {
		next.CreateRevision = prev.GetCreateRevision()
		next.Version = prev.GetVersion() + 1
	}
	if req.GetIgnoreValue() {
		next.Value = prev.GetValue()
	}
	if req.GetIgnoreLease() {
		next.Lease = prev.GetLease()
	}
	d.keys[key] = next
	d.changes = append(d.changes, key)

	response := &flotillav1.PutResponse{Revision: revision}
	if req.GetPrevKv() {
		response.PrevKv = copyOf(prev)
	}
	return response, nil
}

func (d *draft) delete(req *flotillav1.DeleteRequest) (*flotillav1.DeleteResponse, error) {
	if err := d.fence(req.GetFence()); err != nil {
		return nil, err
	}
	if err := precondition(req.GetPrecondition(), d.keys[string(req.GetKey())]); err != nil {
		return nil, err
	}
	removed := d.keys.inOrder(func(key string) bool { return deletes(req, key) })
	for _, kv := range removed {
		delete(d.keys, string(kv.GetKey()))
		d.changes = append(d.changes, string(kv.GetKey()))
	}
	response := &flotillav1.DeleteResponse{Revision: d.revision(), Deleted: uint64(len(removed))}
	if req.GetPrevKv() {
		response.PrevKvs = removed
	}
	return response, nil
}

func (d *draft) fence(f *flotillav1.Fence) error {
	if f == nil {
		return nil
	}
	if token, held := d.model.Tokens[f.GetLock()]; !held || token != f.GetToken() {
		return &RefusalError{Kind: FencingTokenStale}
	}
	return nil
}

func precondition(p *flotillav1.Precondition, kv *flotillav1.KeyValue) error {
	if p.GetMustExist() && kv == nil {
		return &RefusalError{Kind: KeyNotFound}
	}
	if p.GetMustNotExist() && kv != nil {
		return &RefusalError{Kind: KeyExists}
	}
	if p != nil && p.ModRevision != nil && p.GetModRevision() != kv.GetModRevision() {
		return &RefusalError{Kind: RevisionMismatch, Revision: kv.GetModRevision()}
	}
	return nil
}

// inRange says whether a key satisfies all bounds that are set.
func inRange(r *flotillav1.KeyRange, key string) bool {
	if !strings.HasPrefix(key, string(r.GetPrefix())) {
		return false
	}
	if key < string(r.GetStart()) {
		return false
	}
	return len(r.GetEnd()) == 0 || key < string(r.GetEnd())
}

// deletes says whether a request deletes a key if it exists.
func deletes(req *flotillav1.DeleteRequest, key string) bool {
	if target, ok := req.GetTarget().(*flotillav1.DeleteRequest_Key); ok {
		return bytes.Equal(target.Key, []byte(key))
	}
	return inRange(req.GetRange(), key)
}

func copyOf(kv *flotillav1.KeyValue) *flotillav1.KeyValue {
	if kv == nil {
		return nil
	}
	return proto.CloneOf(kv)
}
