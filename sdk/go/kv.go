package flotilla

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// KV is the keys of one namespace: byte strings in byte order, each with its
// versions. A key is 1 byte to 4 KiB, a value up to 1.5 MiB.
type KV struct {
	client    *Client
	namespace string
}

// KeyValue is one version of a key.
type KeyValue struct {
	Key   string
	Value []byte
	// CreateRevision is the revision at which the key was created.
	CreateRevision uint64
	// ModRevision is the revision of this version.
	ModRevision uint64
	// Version counts the writes since the key was created, from 1.
	Version uint64
	// Lease is the lease that the key is attached to; 0 for none.
	Lease int64
}

func keyValue(kv *flotillav1.KeyValue) *KeyValue {
	if kv == nil {
		return nil
	}
	return &KeyValue{
		Key: string(kv.GetKey()), Value: kv.GetValue(),
		CreateRevision: kv.GetCreateRevision(), ModRevision: kv.GetModRevision(),
		Version: kv.GetVersion(), Lease: kv.GetLease(),
	}
}

// Fence refuses a mutation unless a lock is still held under its token.
type Fence struct {
	Lock  string
	Token uint64
}

func (f *Fence) proto() *flotillav1.Fence {
	if f == nil {
		return nil
	}
	return &flotillav1.Fence{Lock: f.Lock, Token: f.Token}
}

// GetOptions says how to read. The zero value is the newest version,
// linearizable.
type GetOptions struct {
	// Revision is what to read at; 0 is the newest.
	Revision uint64
	// Serializable reads a replica that may lag, which is cheaper.
	Serializable bool
}

// Get reads a key. It returns ErrKeyNotFound if there is none.
func (k *KV) Get(ctx context.Context, key string, opts *GetOptions) (*KeyValue, error) {
	if opts == nil {
		opts = &GetOptions{}
	}
	req := &flotillav1.GetRequest{
		Namespace: k.namespace, Key: []byte(key), Revision: opts.Revision, Serializable: opts.Serializable,
	}
	result, err := k.do(ctx, &flotillav1.Operation{Operation: &flotillav1.Operation_Get{Get: req}}, len(key))
	if err != nil {
		return nil, err
	}
	if kv := result.GetGet().GetKv(); kv != nil {
		return keyValue(kv), nil
	}
	return nil, notFound(key)
}

// PutOptions says how to write. At most one of IfRevision, IfExists and
// IfAbsent may be set.
type PutOptions struct {
	// IfRevision refuses the write, with ErrRevisionMismatch, unless the
	// key's ModRevision is this.
	IfRevision uint64
	// IfExists refuses the write, with ErrKeyNotFound, unless the key exists.
	IfExists bool
	// IfAbsent refuses the write, with ErrKeyExists, if the key exists.
	IfAbsent bool
	// Lease attaches the key to a lease.
	Lease int64
	// KeepValue changes only the lease; the value must be nil.
	KeepValue bool
	// KeepLease leaves the key's lease as it is.
	KeepLease bool
	// PrevKV asks for the version that is replaced.
	PrevKV bool
	// Fence refuses the write unless a lock is held.
	Fence *Fence
	// RequestID names the write, so that a retry by the program itself, even
	// after it started again, takes effect once. Default: one per call.
	RequestID string
}

// PutResult is what a write did.
type PutResult struct {
	// Revision is the namespace's revision: the key's new ModRevision.
	Revision uint64
	// PrevKV is the replaced version, if it was asked for and existed.
	PrevKV *KeyValue
}

// Put writes a key.
func (k *KV) Put(ctx context.Context, key string, value []byte, opts *PutOptions) (*PutResult, error) {
	if opts == nil {
		opts = &PutOptions{}
	}
	req := putRequest(key, value, opts)
	req.Namespace, req.RequestId = k.namespace, k.requestID(opts.RequestID)
	result, err := k.do(ctx, &flotillav1.Operation{Operation: &flotillav1.Operation_Put{Put: req}}, len(key)+len(value))
	if err != nil {
		return nil, err
	}
	return putResult(result.GetPut()), nil
}

func putRequest(key string, value []byte, opts *PutOptions) *flotillav1.PutRequest {
	return &flotillav1.PutRequest{
		Key: []byte(key), Value: value,
		Lease: opts.Lease, PrevKv: opts.PrevKV, IgnoreValue: opts.KeepValue, IgnoreLease: opts.KeepLease,
		Precondition: precondition(opts.IfRevision, opts.IfExists, opts.IfAbsent), Fence: opts.Fence.proto(),
	}
}

func putResult(r *flotillav1.PutResponse) *PutResult {
	return &PutResult{Revision: r.GetRevision(), PrevKV: keyValue(r.GetPrevKv())}
}

func precondition(revision uint64, exists, absent bool) *flotillav1.Precondition {
	if revision == 0 && !exists && !absent {
		return nil
	}
	p := &flotillav1.Precondition{MustExist: exists, MustNotExist: absent}
	if revision != 0 {
		p.ModRevision = &revision
	}
	return p
}

// DeleteOptions says how to delete.
type DeleteOptions struct {
	// IfRevision refuses the deletion, with ErrRevisionMismatch, unless the
	// key's ModRevision is this. Not for ranges.
	IfRevision uint64
	// IfExists refuses the deletion, with ErrKeyNotFound, unless the key
	// exists. Not for ranges.
	IfExists bool
	// PrevKV asks for the versions that are removed.
	PrevKV bool
	// Fence refuses the deletion unless a lock is held.
	Fence *Fence
	// RequestID names the deletion; see PutOptions.
	RequestID string
}

// DeleteResult is what a deletion did.
type DeleteResult struct {
	// Revision is the namespace's revision after it.
	Revision uint64
	// Deleted is how many keys were removed.
	Deleted uint64
	// PrevKVs are the removed versions, if they were asked for, by key.
	PrevKVs []*KeyValue
}

// Delete removes a key. Removing one that does not exist is no error.
func (k *KV) Delete(ctx context.Context, key string, opts *DeleteOptions) (*DeleteResult, error) {
	if opts == nil {
		opts = &DeleteOptions{}
	}
	return k.delete(ctx, deleteKey(key, opts), opts, len(key))
}

// DeleteRange removes all keys of a range in one revision, up to 100,000.
func (k *KV) DeleteRange(ctx context.Context, keys KeyRange, opts *DeleteOptions) (*DeleteResult, error) {
	if opts == nil {
		opts = &DeleteOptions{}
	}
	return k.delete(ctx, deleteRange(keys, opts), opts, keys.size())
}

func deleteKey(key string, opts *DeleteOptions) *flotillav1.DeleteRequest {
	return &flotillav1.DeleteRequest{
		Target: &flotillav1.DeleteRequest_Key{Key: []byte(key)}, PrevKv: opts.PrevKV,
		Precondition: precondition(opts.IfRevision, opts.IfExists, false), Fence: opts.Fence.proto(),
	}
}

func deleteRange(keys KeyRange, opts *DeleteOptions) *flotillav1.DeleteRequest {
	return &flotillav1.DeleteRequest{
		Target: &flotillav1.DeleteRequest_Range{Range: keys.proto()}, PrevKv: opts.PrevKV,
		Precondition: precondition(opts.IfRevision, opts.IfExists, false), Fence: opts.Fence.proto(),
	}
}

func (k *KV) delete(ctx context.Context, req *flotillav1.DeleteRequest, opts *DeleteOptions, bytes int) (*DeleteResult, error) {
	req.Namespace, req.RequestId = k.namespace, k.requestID(opts.RequestID)
	result, err := k.do(ctx, &flotillav1.Operation{Operation: &flotillav1.Operation_Delete{Delete: req}}, bytes)
	if err != nil {
		return nil, err
	}
	return deleteResult(result.GetDelete()), nil
}

func deleteResult(r *flotillav1.DeleteResponse) *DeleteResult {
	result := &DeleteResult{Revision: r.GetRevision(), Deleted: r.GetDeleted()}
	for _, kv := range r.GetPrevKvs() {
		result.PrevKVs = append(result.PrevKVs, keyValue(kv))
	}
	return result
}

// Compact drops the revisions older than the given one.
func (k *KV) Compact(ctx context.Context, revision uint64) error {
	req := &flotillav1.CompactRequest{Namespace: k.namespace, RequestId: k.client.ids.next(), Revision: revision}
	_, err := tryAgain(ctx, k.client, req, k.client.kv.Compact)
	return err
}

func (k *KV) requestID(own string) string {
	if own != "" {
		return own
	}
	return k.client.ids.next()
}

// certain takes the doubt out of a failed read's error: there is nothing that it
// may have done.
func certain(op *flotillav1.Operation, err error) error {
	var e *Error
	if (op.GetGet() != nil || op.GetRange() != nil) && errors.As(err, &e) {
		e.unknown = false
	}
	return err
}

// mayLag tells whether a server answers an operation that cannot reach the others.
func mayLag(op *flotillav1.Operation) bool {
	return op.GetGet().GetSerializable() || op.GetRange().GetSerializable()
}

// operationOverheadBytes is what an operation costs in a message besides its
// keys and values.
const operationOverheadBytes = 64

// defaultNamespace is the one that requests mean which name none.
const defaultNamespace = "default"

// do runs one operation through the pipeline to who leads, with retries.
func (k *KV) do(ctx context.Context, op *flotillav1.Operation, bytes int) (*flotillav1.OperationResult, error) {
	var result *flotillav1.OperationResult
	deadline := k.client.deadline(ctx)
	visitor := visitor{all: k.client.endpoints}
	err := k.client.retry(ctx, deadline, func(ctx context.Context) (err error) {
		// An attempt that was given up may still be on its way to the wire, so
		// each has an envelope of its own.
		attempt := &flotillav1.Operation{Operation: op.GetOperation()}
		place := k.client.endpoints.leader(cmp.Or(k.namespace, defaultNamespace))
		if mayLag(op) { // any replica may answer, so the leader is spared
			place = k.client.endpoints.present()
		}
		visitor.visit(place)
		result, err = k.client.pipelines[place].do(ctx, deadline, attempt, bytes+operationOverheadBytes)
		if err != nil || !mayLag(op) {
			visitor.ended(err)
		}
		return err
	})
	if err != nil {
		return nil, certain(op, err)
	}
	if result.GetResult() == nil {
		return nil, &Error{Message: fmt.Sprintf("the server answered operation %d without a result", result.GetId())}
	}
	return result, nil
}
