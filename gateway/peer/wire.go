package peer

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// encodeQuery is a query as it travels.
func encodeQuery(q *shards.Query) (*internalv1.PeerQuery, error) {
	p := &internalv1.PeerQuery{
		NamespaceId: uint64(q.Namespace), KeysMax: uint64(max(0, q.KeysMax)), BytesMax: uint64(max(0, q.BytesMax)),
	}
	switch req := q.Request.(type) {
	case *flotillav1.GetRequest:
		p.Request = &internalv1.PeerQuery_Get{Get: req}
	case *flotillav1.RangeRequest:
		p.Request = &internalv1.PeerQuery_Range{Range: req}
	case *flotillav1.TxnRequest:
		p.Request = &internalv1.PeerQuery_Txn{Txn: req}
	case *flotillav1.GetLeaseRequest:
		p.Request = &internalv1.PeerQuery_GetLease{GetLease: req}
	case *flotillav1.ListLeasesRequest:
		p.Request = &internalv1.PeerQuery_ListLeases{ListLeases: req}
	case *internalv1.NamespaceStateRequest:
		p.Request = &internalv1.PeerQuery_State{State: req}
	case *internalv1.LeaseTTLsRequest:
		p.Request = &internalv1.PeerQuery_LeaseTtls{LeaseTtls: req}
	case *internalv1.StoredUsageRequest:
		p.Request = &internalv1.PeerQuery_StoredUsage{StoredUsage: req}
	default:
		return nil, fmt.Errorf("%T is not a query", q.Request)
	}
	return p, nil
}

// The most that another node may ask for in one answer: what the hard limits of
// requests allow, and more than any tenant's limits should.
const (
	rangeKeysMax  = 1_000_000
	rangeBytesMax = 16 << 20
	leasesMax     = 100_000
)

// decodeQuery is a query that another node asks, held to the hard limits: what
// the other node checked is not trusted to be right.
func decodeQuery(p *internalv1.PeerQuery) (shards.Query, error) {
	q := shards.Query{
		Namespace: tenancy.NamespaceID(p.GetNamespaceId()),
		KeysMax:   bounded(p.GetKeysMax(), rangeKeysMax), BytesMax: bounded(p.GetBytesMax(), rangeBytesMax),
	}
	switch req := p.GetRequest().(type) {
	case *internalv1.PeerQuery_Get:
		q.Request = req.Get
		return q, mvcc.CheckGet(req.Get, mvcc.HardLimits)
	case *internalv1.PeerQuery_Range:
		q.Request = req.Range
		return q, mvcc.CheckRange(req.Range, mvcc.HardLimits)
	case *internalv1.PeerQuery_Txn:
		q.Request = req.Txn
		if !mvcc.IsReadOnly(req.Txn) {
			return q, &mvcc.InvalidError{Field: "txn", Message: "is not one that only reads"}
		}
		return q, mvcc.CheckTxn(req.Txn, mvcc.HardLimits)
	case *internalv1.PeerQuery_GetLease:
		q.Request = req.GetLease
	case *internalv1.PeerQuery_ListLeases:
		q.Request = req.ListLeases
		req.ListLeases.Limit = min(req.ListLeases.GetLimit(), leasesMax)
	case *internalv1.PeerQuery_State:
		q.Request = req.State
	case *internalv1.PeerQuery_LeaseTtls:
		q.Request = req.LeaseTtls
	case *internalv1.PeerQuery_StoredUsage:
		q.Request = req.StoredUsage // which checks itself
	default:
		return q, &mvcc.InvalidError{Field: "request", Message: "is not a query that this version knows"}
	}
	return q, nil
}

// bounded is a bound where 0 is none, as large as it may be.
func bounded(asked, most uint64) int {
	if asked == 0 || asked > most {
		return int(most)
	}
	return int(asked)
}

// encodeAnswer puts an answer or an error into the message.
func encodeAnswer(into *internalv1.PeerAnswer, response proto.Message, err error) {
	if err != nil {
		into.Answer = &internalv1.PeerAnswer_Error{Error: encodeError(err)}
		return
	}
	switch r := response.(type) {
	case *flotillav1.GetResponse:
		into.Answer = &internalv1.PeerAnswer_Get{Get: r}
	case *flotillav1.PutResponse:
		into.Answer = &internalv1.PeerAnswer_Put{Put: r}
	case *flotillav1.RangeResponse:
		into.Answer = &internalv1.PeerAnswer_Range{Range: r}
	case *flotillav1.DeleteResponse:
		into.Answer = &internalv1.PeerAnswer_Delete{Delete: r}
	case *flotillav1.TxnResponse:
		into.Answer = &internalv1.PeerAnswer_Txn{Txn: r}
	case *flotillav1.CompactResponse:
		into.Answer = &internalv1.PeerAnswer_Compact{Compact: r}
	case *flotillav1.GrantLeaseResponse:
		into.Answer = &internalv1.PeerAnswer_GrantLease{GrantLease: r}
	case *flotillav1.KeepAliveResponse:
		into.Answer = &internalv1.PeerAnswer_KeepAlive{KeepAlive: r}
	case *flotillav1.RevokeLeaseResponse:
		into.Answer = &internalv1.PeerAnswer_RevokeLease{RevokeLease: r}
	case *flotillav1.GetLeaseResponse:
		into.Answer = &internalv1.PeerAnswer_GetLease{GetLease: r}
	case *flotillav1.ListLeasesResponse:
		into.Answer = &internalv1.PeerAnswer_ListLeases{ListLeases: r}
	case *internalv1.NamespaceState:
		into.Answer = &internalv1.PeerAnswer_State{State: r}
	case *internalv1.LeaseTTLsResponse:
		into.Answer = &internalv1.PeerAnswer_LeaseTtls{LeaseTtls: r}
	case *internalv1.DropNamespaceSliceResponse:
		into.Answer = &internalv1.PeerAnswer_DropNamespaceSlice{DropNamespaceSlice: r}
	case *internalv1.StoredUsageResponse:
		into.Answer = &internalv1.PeerAnswer_StoredUsage{StoredUsage: r}
	default:
		err := fmt.Errorf("%T is not an answer that this version sends", response)
		into.Answer = &internalv1.PeerAnswer_Error{Error: encodeError(err)}
	}
}

// decodeAnswer is the answer or the error in a message.
func decodeAnswer(node string, p *internalv1.PeerAnswer) (proto.Message, error) {
	switch a := p.GetAnswer().(type) {
	case *internalv1.PeerAnswer_Error:
		return nil, decodeError(node, a.Error)
	case *internalv1.PeerAnswer_Get:
		return a.Get, nil
	case *internalv1.PeerAnswer_Put:
		return a.Put, nil
	case *internalv1.PeerAnswer_Range:
		return a.Range, nil
	case *internalv1.PeerAnswer_Delete:
		return a.Delete, nil
	case *internalv1.PeerAnswer_Txn:
		return a.Txn, nil
	case *internalv1.PeerAnswer_Compact:
		return a.Compact, nil
	case *internalv1.PeerAnswer_GrantLease:
		return a.GrantLease, nil
	case *internalv1.PeerAnswer_KeepAlive:
		return a.KeepAlive, nil
	case *internalv1.PeerAnswer_RevokeLease:
		return a.RevokeLease, nil
	case *internalv1.PeerAnswer_GetLease:
		return a.GetLease, nil
	case *internalv1.PeerAnswer_ListLeases:
		return a.ListLeases, nil
	case *internalv1.PeerAnswer_State:
		return a.State, nil
	case *internalv1.PeerAnswer_LeaseTtls:
		if len(a.LeaseTtls.GetIds()) != len(a.LeaseTtls.GetTtlSeconds()) {
			return nil, fmt.Errorf("node %s answered %d leases with %d TTLs", node, len(a.LeaseTtls.GetIds()), len(a.LeaseTtls.GetTtlSeconds()))
		}
		return a.LeaseTtls, nil
	case *internalv1.PeerAnswer_DropNamespaceSlice:
		return a.DropNamespaceSlice, nil
	case *internalv1.PeerAnswer_StoredUsage:
		return a.StoredUsage, nil
	default:
		return nil, fmt.Errorf("node %s gave an answer that this version does not know", node)
	}
}
