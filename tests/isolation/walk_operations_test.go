package isolation

import (
	"testing"

	"google.golang.org/protobuf/proto"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

func inTxn(op *flotillav1.Operation) *flotillav1.TxnOperation {
	switch o := op.GetOperation().(type) {
	case *flotillav1.Operation_Get:
		return &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Get{Get: o.Get}}
	case *flotillav1.Operation_Range:
		return &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Range{Range: o.Range}}
	case *flotillav1.Operation_Put:
		return &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Put{Put: o.Put}}
	case *flotillav1.Operation_Delete:
		return &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Delete{Delete: o.Delete}}
	case *flotillav1.Operation_Txn:
		return &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Txn{Txn: o.Txn}}
	default:
		return nil
	}
}

func compareKey(key []byte) *flotillav1.Compare {
	return &flotillav1.Compare{
		Subject: &flotillav1.Compare_Key{Key: key}, Relation: flotillav1.Compare_RELATION_GREATER, Target: &flotillav1.Compare_Version{},
	}
}

func compareRange(keys *flotillav1.KeyRange) *flotillav1.Compare {
	c := compareKey(nil)
	c.Subject = &flotillav1.Compare_Range{Range: keys}
	return c
}

func txnOperation(txn *flotillav1.TxnRequest) *flotillav1.Operation {
	return &flotillav1.Operation{Operation: &flotillav1.Operation_Txn{Txn: txn}}
}

// operations are what batches, pipelines and transactions have inside them, each
// with what it needs.
func operations() map[string]struct {
	op    *flotillav1.Operation
	needs tenancy.Action
} {
	type row = struct {
		op    *flotillav1.Operation
		needs tenancy.Action
	}
	put := func(p *flotillav1.PutRequest) *flotillav1.Operation {
		return &flotillav1.Operation{Operation: &flotillav1.Operation_Put{Put: p}}
	}
	remove := func(d *flotillav1.DeleteRequest) *flotillav1.Operation {
		return &flotillav1.Operation{Operation: &flotillav1.Operation_Delete{Delete: d}}
	}
	compare := func(c *flotillav1.Compare) *flotillav1.Operation {
		return txnOperation(&flotillav1.TxnRequest{Compare: []*flotillav1.Compare{c}})
	}
	one, under := &flotillav1.DeleteRequest_Key{Key: walkKey()}, &flotillav1.DeleteRequest_Range{Range: keysUnder(walkPrefix)}
	return map[string]row{
		"get":                     {&flotillav1.Operation{Operation: &flotillav1.Operation_Get{Get: &flotillav1.GetRequest{Key: walkKey()}}}, read},
		"range":                   {&flotillav1.Operation{Operation: &flotillav1.Operation_Range{Range: &flotillav1.RangeRequest{Keys: keysUnder(walkPrefix)}}}, read},
		"count":                   {&flotillav1.Operation{Operation: &flotillav1.Operation_Range{Range: &flotillav1.RangeRequest{Keys: keysUnder(walkPrefix), CountOnly: true}}}, read},
		"put":                     {put(&flotillav1.PutRequest{Key: walkKey()}), write},
		"put with the value left": {put(&flotillav1.PutRequest{Key: walkKey(), PrevKv: true}), read | write},
		"delete":                  {remove(&flotillav1.DeleteRequest{Target: one}), write},
		"delete a range":          {remove(&flotillav1.DeleteRequest{Target: under}), write},
		"delete and tell":         {remove(&flotillav1.DeleteRequest{Target: one, PrevKv: true}), read | write},
		"delete and tell a range": {remove(&flotillav1.DeleteRequest{Target: under, PrevKv: true}), read | write},
		"compare":                 {compare(compareKey(walkKey())), read},
		"compare a range":         {compare(compareRange(keysUnder(walkPrefix))), read},
	}
}

// containers put an operation into a request, where it may be done.
func containers() map[string]struct {
	method string
	of     func(*flotillav1.Operation) proto.Message
} {
	type row = struct {
		method string
		of     func(*flotillav1.Operation) proto.Message
	}
	then := func(op *flotillav1.Operation) *flotillav1.TxnRequest {
		return &flotillav1.TxnRequest{Success: []*flotillav1.TxnOperation{inTxn(op)}}
	}
	otherwise := func(op *flotillav1.Operation) *flotillav1.TxnRequest {
		return &flotillav1.TxnRequest{Failure: []*flotillav1.TxnOperation{inTxn(op)}}
	}
	txn := func(in ...func(*flotillav1.Operation) *flotillav1.TxnRequest) func(*flotillav1.Operation) proto.Message {
		return func(op *flotillav1.Operation) proto.Message {
			for i := range in {
				made := in[len(in)-1-i](op)
				if i == len(in)-1 {
					return made
				}
				op = txnOperation(made)
			}
			return nil
		}
	}
	return map[string]row{
		"the branch that is taken":        {"Txn", txn(then)},
		"the branch that is not":          {"Txn", txn(otherwise)},
		"a txn in the branch taken":       {"Txn", txn(then, otherwise)},
		"a txn in the branch that is not": {"Txn", txn(otherwise, then)},
		"three deep":                      {"Txn", txn(then, then, otherwise)},
		"a batch": {"Batch", func(op *flotillav1.Operation) proto.Message {
			return &flotillav1.BatchRequest{Operations: []*flotillav1.Operation{op}}
		}},
		"a txn in a batch": {"Batch", func(op *flotillav1.Operation) proto.Message {
			return &flotillav1.BatchRequest{Operations: []*flotillav1.Operation{txnOperation(otherwise(op))}}
		}},
		"a pipeline": {"Pipeline", func(op *flotillav1.Operation) proto.Message {
			return &flotillav1.PipelineRequest{Operations: []*flotillav1.Operation{op}}
		}},
		"a txn in a pipeline": {"Pipeline", func(op *flotillav1.Operation) proto.Message {
			return &flotillav1.PipelineRequest{Operations: []*flotillav1.Operation{txnOperation(then(op))}}
		}},
	}
}

// TestOperationsWalk does each operation wherever one can be, with credentials that
// allow just it, and with those that allow all but it. What a transaction does not
// come to counts as well: whether it is refused must not tell what is stored.
func TestOperationsWalk(t *testing.T) {
	t.Parallel()
	w := newWalker(t)
	protocol := overConnect{"Connect over HTTP 2", shared.node.APIURL(), "proto", nil, http2("")}
	table := containers()
	for _, method := range methodsOf("flotilla.v1") {
		for where, container := range table {
			if method.Parent().Name() != "KVService" || string(method.Name()) != container.method {
				continue
			}
			for what, operation := range operations() {
				t.Run(what+" in "+where, func(t *testing.T) {
					request := func() proto.Message { return proto.Clone(container.of(operation.op)) }
					w.permissions(t, protocol, method, walked{request: request, needs: operation.needs})
				})
			}
		}
	}
}
