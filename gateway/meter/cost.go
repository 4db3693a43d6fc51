package meter

import (
	"errors"

	"google.golang.org/protobuf/proto"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// readUnitBytes is how much of an answer one read unit is good for.
	readUnitBytes = 4 << 10
	// writeUnitBytes is how much of keys and values one write unit is good for.
	writeUnitBytes = 1 << 10
	// leaseBytes is what a lease counts for in requests and answers.
	leaseBytes = 8
)

// Cost is what an operation has cost.
type Cost struct {
	// ReadUnits and WriteUnits are those of flotilla.v1.Usage.
	ReadUnits, WriteUnits uint64
	// Bytes are the keys and values of the answer.
	Bytes int
}

// Add adds another cost.
func (c *Cost) Add(other Cost) {
	c.ReadUnits += other.ReadUnits
	c.WriteUnits += other.WriteUnits
	c.Bytes += other.Bytes
}

// read is the cost of one read.
func read(bytes int) Cost { return Cost{ReadUnits: units(bytes, readUnitBytes), Bytes: bytes} }

// write is the cost of one write of so many bytes of keys and values.
func write(bytes int) Cost { return Cost{WriteUnits: units(bytes, writeUnitBytes)} }

// units is one, and one for each part that is begun beyond the first.
func units(bytes, part int) uint64 { return uint64(max((bytes+part-1)/part, 1)) }

// CostOf is what an operation has cost that was answered with response, or err. One
// that the state refuses costs a unit; one that failed, or was refused for a limit,
// nothing.
func CostOf(request, response proto.Message, err error) Cost {
	if err != nil {
		switch _, limited := errors.AsType[*tenancy.QuotaError](err); {
		case limited, !mvcc.IsRefusal(err):
			return Cost{}
		case isRead(request):
			return read(0)
		default:
			return write(0)
		}
	}
	switch r := request.(type) {
	case *flotillav1.GetRequest, *flotillav1.RangeRequest, *flotillav1.GetLeaseRequest, *flotillav1.ListLeasesRequest:
		return read(answerBytes(response))
	case *flotillav1.PutRequest:
		return written(write(RequestBytes(r)), r.GetPrevKv(), response)
	case *flotillav1.DeleteRequest:
		cost := write(RequestBytes(r))
		if answer, ok := response.(*flotillav1.DeleteResponse); ok {
			cost.WriteUnits = max(cost.WriteUnits, answer.GetDeleted())
		}
		return written(cost, r.GetPrevKv(), response)
	case *flotillav1.TxnRequest:
		answer, ok := response.(*flotillav1.TxnResponse)
		if !ok {
			return read(0)
		}
		return costOfTxn(r, answer)
	default:
		return write(RequestBytes(request))
	}
}

// written is a write that may have been asked what was there before.
func written(cost Cost, prevKV bool, response proto.Message) Cost {
	if prevKV {
		cost.Add(read(answerBytes(response)))
	}
	return cost
}

// costOfTxn is that of the operations that were carried out, and of a read for the
// comparisons.
func costOfTxn(request *flotillav1.TxnRequest, response *flotillav1.TxnResponse) (cost Cost) {
	operations := request.GetFailure()
	if response.GetSucceeded() {
		operations = request.GetSuccess()
	}
	for i, answer := range response.GetResponses() {
		if i < len(operations) {
			cost.Add(costOfOperation(operations[i], answer))
		}
	}
	if len(request.GetCompare()) > 0 || cost == (Cost{}) {
		cost.Add(read(0))
	}
	return cost
}

func costOfOperation(op *flotillav1.TxnOperation, answer *flotillav1.TxnOperationResponse) Cost {
	switch o := op.GetOperation().(type) {
	case *flotillav1.TxnOperation_Get:
		return CostOf(o.Get, answer.GetGet(), nil)
	case *flotillav1.TxnOperation_Range:
		return CostOf(o.Range, answer.GetRange(), nil)
	case *flotillav1.TxnOperation_Put:
		return CostOf(o.Put, answer.GetPut(), nil)
	case *flotillav1.TxnOperation_Delete:
		return CostOf(o.Delete, answer.GetDelete(), nil)
	case *flotillav1.TxnOperation_Txn:
		return CostOf(o.Txn, answer.GetTxn(), nil)
	default:
		return Cost{}
	}
}

func isRead(request proto.Message) bool {
	switch r := request.(type) {
	case *flotillav1.GetRequest, *flotillav1.RangeRequest, *flotillav1.GetLeaseRequest, *flotillav1.ListLeasesRequest:
		return true
	case *flotillav1.TxnRequest:
		return mvcc.IsReadOnly(r)
	default:
		return false
	}
}

// RequestBytes are the bytes of a request's keys and values.
func RequestBytes(request proto.Message) (bytes int) {
	switch r := request.(type) {
	case *flotillav1.GetRequest:
		return len(r.GetKey())
	case *flotillav1.PutRequest:
		return len(r.GetKey()) + len(r.GetValue())
	case *flotillav1.RangeRequest:
		return rangeBytes(r.GetKeys())
	case *flotillav1.DeleteRequest:
		return len(r.GetKey()) + rangeBytes(r.GetRange())
	case *flotillav1.WatchCreate:
		return len(r.GetKey()) + rangeBytes(r.GetRange())
	case *flotillav1.TxnRequest:
		return txnBytes(r)
	case *flotillav1.KeepAliveRequest:
		return leaseBytes * len(r.GetIds())
	default:
		return leaseBytes // a revision, or the id of a lease
	}
}

func rangeBytes(r *flotillav1.KeyRange) int {
	return len(r.GetPrefix()) + len(r.GetStart()) + len(r.GetEnd())
}

func txnBytes(txn *flotillav1.TxnRequest) (bytes int) {
	for _, c := range txn.GetCompare() {
		bytes += len(c.GetKey()) + rangeBytes(c.GetRange()) + len(c.GetValue())
	}
	for _, branch := range [][]*flotillav1.TxnOperation{txn.GetSuccess(), txn.GetFailure()} {
		for _, op := range branch {
			switch o := op.GetOperation().(type) {
			case *flotillav1.TxnOperation_Get:
				bytes += RequestBytes(o.Get)
			case *flotillav1.TxnOperation_Range:
				bytes += RequestBytes(o.Range)
			case *flotillav1.TxnOperation_Put:
				bytes += RequestBytes(o.Put)
			case *flotillav1.TxnOperation_Delete:
				bytes += RequestBytes(o.Delete)
			case *flotillav1.TxnOperation_Txn:
				bytes += RequestBytes(o.Txn)
			}
		}
	}
	return bytes
}

// answerBytes are the bytes of an answer's keys and values.
func answerBytes(response proto.Message) int {
	switch r := response.(type) {
	case *flotillav1.GetResponse:
		return keyValueBytes(r.GetKv())
	case *flotillav1.RangeResponse:
		return keyValuesBytes(r.GetKvs())
	case *flotillav1.PutResponse:
		return keyValueBytes(r.GetPrevKv())
	case *flotillav1.DeleteResponse:
		return keyValuesBytes(r.GetPrevKvs())
	case *flotillav1.GetLeaseResponse:
		bytes := leaseBytes
		for _, key := range r.GetKeys() {
			bytes += len(key)
		}
		return bytes
	case *flotillav1.ListLeasesResponse:
		return leaseBytes * len(r.GetIds())
	default:
		return 0
	}
}

func keyValueBytes(kv *flotillav1.KeyValue) int { return len(kv.GetKey()) + len(kv.GetValue()) }

func keyValuesBytes(kvs []*flotillav1.KeyValue) (bytes int) {
	for _, kv := range kvs {
		bytes += keyValueBytes(kv)
	}
	return bytes
}

// EventCost is that of telling a watch an event with so many bytes of keys and
// values.
func EventCost(bytes int) Cost { return read(bytes) }
