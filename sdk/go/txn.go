package flotilla

import (
	"context"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// Txn is a transaction: if all conditions of If hold then Then is run, else
// Else; all in one commit, with one revision.
type Txn struct {
	If   []Condition
	Then []Op
	Else []Op
	// Fence refuses the transaction unless a lock is held.
	Fence *Fence
	// RequestID names the transaction; see PutOptions.
	RequestID string
}

// Condition is one condition of a transaction. The functions below make one.
type Condition struct{ compare *flotillav1.Compare }

// Relation is how a condition's field relates to its value.
type Relation = flotillav1.Compare_Relation

// The relations of a condition.
const (
	Equal    Relation = flotillav1.Compare_RELATION_EQUAL
	NotEqual Relation = flotillav1.Compare_RELATION_NOT_EQUAL
	Less     Relation = flotillav1.Compare_RELATION_LESS
	Greater  Relation = flotillav1.Compare_RELATION_GREATER
)

func condition(key string, relation Relation) *flotillav1.Compare {
	return &flotillav1.Compare{Subject: &flotillav1.Compare_Key{Key: []byte(key)}, Relation: relation}
}

// IfExists holds if the key exists.
func IfExists(key string) Condition { return IfCreateRevision(key, Greater, 0) }

// IfAbsent holds if the key does not exist.
func IfAbsent(key string) Condition { return IfCreateRevision(key, Equal, 0) }

// IfValue compares a key's value, in byte order. A key that does not exist
// fails it.
func IfValue(key string, relation Relation, value []byte) Condition {
	c := condition(key, relation)
	c.Target = &flotillav1.Compare_Value{Value: value}
	return Condition{c}
}

// IfVersion compares how often a key was written; 0 for one that does not
// exist.
func IfVersion(key string, relation Relation, version uint64) Condition {
	c := condition(key, relation)
	c.Target = &flotillav1.Compare_Version{Version: version}
	return Condition{c}
}

// IfModRevision compares the revision of a key's last write; 0 for one that
// does not exist.
func IfModRevision(key string, relation Relation, revision uint64) Condition {
	c := condition(key, relation)
	c.Target = &flotillav1.Compare_ModRevision{ModRevision: revision}
	return Condition{c}
}

// IfCreateRevision compares the revision of a key's creation; 0 for one that
// does not exist.
func IfCreateRevision(key string, relation Relation, revision uint64) Condition {
	c := condition(key, relation)
	c.Target = &flotillav1.Compare_CreateRevision{CreateRevision: revision}
	return Condition{c}
}

// IfLease compares a key's lease; 0 for none.
func IfLease(key string, relation Relation, lease int64) Condition {
	c := condition(key, relation)
	c.Target = &flotillav1.Compare_Lease{Lease: lease}
	return Condition{c}
}

// Over makes a condition one of every key of a range instead of one key.
func (c Condition) Over(keys KeyRange) Condition {
	return Condition{&flotillav1.Compare{
		Subject: &flotillav1.Compare_Range{Range: keys.proto()}, Relation: c.compare.GetRelation(), Target: c.compare.GetTarget(),
	}}
}

// Op is one operation of a transaction. The functions below make one.
type Op struct {
	operation *flotillav1.TxnOperation
	bytes     int
}

// OpGet reads a key.
func OpGet(key string) Op {
	return Op{&flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Get{Get: &flotillav1.GetRequest{Key: []byte(key)}}}, len(key)}
}

// OpRange reads a range, in one part.
func OpRange(keys KeyRange, opts *RangeOptions) Op {
	if opts == nil {
		opts = &RangeOptions{}
	}
	return Op{&flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Range{Range: opts.request(keys)}}, keys.size()}
}

// OpPut writes a key. The options' RequestID is not used.
func OpPut(key string, value []byte, opts *PutOptions) Op {
	if opts == nil {
		opts = &PutOptions{}
	}
	req := putRequest(key, value, opts)
	return Op{&flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Put{Put: req}}, len(key) + len(value)}
}

// OpDelete removes a key. The options' RequestID is not used.
func OpDelete(key string, opts *DeleteOptions) Op {
	if opts == nil {
		opts = &DeleteOptions{}
	}
	return Op{&flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Delete{Delete: deleteKey(key, opts)}}, len(key)}
}

// OpDeleteRange removes the keys of a range. The options' RequestID is not used.
func OpDeleteRange(keys KeyRange, opts *DeleteOptions) Op {
	if opts == nil {
		opts = &DeleteOptions{}
	}
	return Op{&flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Delete{Delete: deleteRange(keys, opts)}}, keys.size()}
}

// OpTxn runs a transaction inside another.
func OpTxn(txn Txn) Op {
	req, bytes := txn.request()
	return Op{&flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Txn{Txn: req}}, bytes}
}

func (t Txn) request() (*flotillav1.TxnRequest, int) {
	req := &flotillav1.TxnRequest{Fence: t.Fence.proto()}
	bytes := 0
	for _, c := range t.If {
		req.Compare = append(req.Compare, c.compare)
		bytes += operationOverheadBytes + len(c.compare.GetKey()) + len(c.compare.GetValue())
	}
	for _, op := range t.Then {
		req.Success = append(req.Success, op.operation)
		bytes += operationOverheadBytes + op.bytes
	}
	for _, op := range t.Else {
		req.Failure = append(req.Failure, op.operation)
		bytes += operationOverheadBytes + op.bytes
	}
	return req, bytes
}

// TxnResult is what a transaction did.
type TxnResult struct {
	// Revision is the namespace's revision after it.
	Revision uint64
	// Succeeded is whether all conditions held.
	Succeeded bool
	// Results are those of the operations that were run, in their order.
	Results []OpResult
}

// OpResult is what one operation did: the field of its kind is set.
type OpResult struct {
	// KV is what OpGet read; nil if the key does not exist.
	KV *KeyValue
	// KVs is what OpRange read.
	KVs []*KeyValue
	// More is whether OpRange left keys out.
	More bool
	// Put is what OpPut did.
	Put *PutResult
	// Delete is what OpDelete or OpDeleteRange did.
	Delete *DeleteResult
	// Txn is what OpTxn did.
	Txn *TxnResult
}

// Txn runs a transaction.
func (k *KV) Txn(ctx context.Context, txn Txn) (*TxnResult, error) {
	req, bytes := txn.request()
	req.Namespace, req.RequestId = k.namespace, txn.RequestID
	if writes(req) {
		req.RequestId = k.requestID(txn.RequestID)
	}
	result, err := k.do(ctx, &flotillav1.Operation{Operation: &flotillav1.Operation_Txn{Txn: req}}, bytes)
	if err != nil {
		return nil, err
	}
	return txnResult(result.GetTxn()), nil
}

// writes tells whether a transaction may write. One that does not needs no
// request id to be tried again, and without one it costs no entry of the log.
func writes(req *flotillav1.TxnRequest) bool {
	for _, operations := range [][]*flotillav1.TxnOperation{req.GetSuccess(), req.GetFailure()} {
		for _, op := range operations {
			if op.GetPut() != nil || op.GetDelete() != nil || op.GetTxn() != nil && writes(op.GetTxn()) {
				return true
			}
		}
	}
	return false
}

func txnResult(r *flotillav1.TxnResponse) *TxnResult {
	result := &TxnResult{Revision: r.GetRevision(), Succeeded: r.GetSucceeded()}
	for _, op := range r.GetResponses() {
		var one OpResult
		switch o := op.GetResponse().(type) {
		case *flotillav1.TxnOperationResponse_Get:
			one.KV = keyValue(o.Get.GetKv())
		case *flotillav1.TxnOperationResponse_Range:
			one.More = o.Range.GetMore()
			for _, kv := range o.Range.GetKvs() {
				one.KVs = append(one.KVs, keyValue(kv))
			}
		case *flotillav1.TxnOperationResponse_Put:
			one.Put = putResult(o.Put)
		case *flotillav1.TxnOperationResponse_Delete:
			one.Delete = deleteResult(o.Delete)
		case *flotillav1.TxnOperationResponse_Txn:
			one.Txn = txnResult(o.Txn)
		}
		result.Results = append(result.Results, one)
	}
	return result
}
