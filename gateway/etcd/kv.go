package etcd

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// kvServer serves etcdserverpb.KV.
type kvServer struct {
	pb.UnimplementedKVServer
	*Server
}

// Range implements KV.
func (s *kvServer) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	c := callerFrom(ctx)
	return s.readRange(ctx, c, r, &c.answer)
}

// RangeStream implements KV.
func (s *kvServer) RangeStream(r *pb.RangeRequest, stream grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	if err := checkRangeStream(r); err != nil {
		return err
	}
	return s.guard("the range", func(g *guard) error {
		return s.streamRange(stream.Context(), callerFrom(stream.Context()), r, func(part *pb.RangeStreamResponse, hold *hold) error {
			return g.send(stream, hold.attach(part))
		})
	})
}

// Put implements KV.
func (s *kvServer) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	if err := s.checkSize(r); err != nil {
		return nil, err
	}
	c := callerFrom(ctx)
	put := putOf(r)
	put.Namespace = c.namespace
	response, err := route.Do[*flotillav1.PutResponse](ctx, s.kv, put)
	if err != nil {
		return nil, err
	}
	return &pb.PutResponse{Header: s.header(c, response.GetRevision()), PrevKv: keyValue(response.GetPrevKv())}, nil
}

func putOf(r *pb.PutRequest) *flotillav1.PutRequest {
	return &flotillav1.PutRequest{
		Key: r.GetKey(), Value: r.GetValue(), Lease: r.GetLease(), PrevKv: r.GetPrevKv(),
		IgnoreValue: r.GetIgnoreValue(), IgnoreLease: r.GetIgnoreLease(),
	}
}

// DeleteRange implements KV.
func (s *kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkDelete(r); err != nil {
		return nil, err
	}
	if err := s.checkSize(r); err != nil {
		return nil, err
	}
	c := callerFrom(ctx)
	request := deleteOf(r)
	request.Namespace = c.namespace
	response, err := route.Do[*flotillav1.DeleteResponse](ctx, s.kv, request)
	if err != nil {
		return nil, err
	}
	return &pb.DeleteRangeResponse{
		Header: s.header(c, response.GetRevision()), Deleted: int64(response.GetDeleted()),
		PrevKvs: appendKeyValues(nil, response.GetPrevKvs()),
	}, nil
}

func deleteOf(r *pb.DeleteRangeRequest) *flotillav1.DeleteRequest {
	request := &flotillav1.DeleteRequest{PrevKv: r.GetPrevKv()}
	if len(r.GetRangeEnd()) == 0 {
		request.Target = &flotillav1.DeleteRequest_Key{Key: r.GetKey()}
	} else {
		request.Target = &flotillav1.DeleteRequest_Range{Range: keyRange(r.GetKey(), r.GetRangeEnd())}
	}
	return request
}

// Txn implements KV.
func (s *kvServer) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	c := callerFrom(ctx)
	if err := checkTxn(r, c.principal.Limits.TxnOperationsMax); err != nil {
		return nil, err
	}
	if err := s.checkSize(r); err != nil {
		return nil, err
	}
	request := txnOf(r)
	request.Namespace = c.namespace
	response, err := route.Do[*flotillav1.TxnResponse](ctx, s.kv, request)
	if err != nil {
		return nil, err
	}
	answer := txnResponse(r, response)
	answer.Header = s.header(c, response.GetRevision())
	return answer, nil
}

// Compact implements KV. It does not wait until what was dropped is reclaimed,
// also when `physical` asks for that.
func (s *kvServer) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	if r.GetRevision() <= 0 {
		return nil, rpctypes.ErrGRPCCompacted
	}
	c := callerFrom(ctx)
	response, err := route.Do[*flotillav1.CompactResponse](ctx, s.kv, &flotillav1.CompactRequest{
		Namespace: c.namespace, Revision: uint64(r.GetRevision()),
	})
	if err != nil {
		return nil, err
	}
	return &pb.CompactionResponse{Header: s.header(c, response.GetRevision())}, nil
}
