package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/apierr"
	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/gateway/route"
	"github.com/flotillakv/flotilla/gateway/unread"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// batchAnswerBytesMax is after how many bytes of answers a batch reads no more.
const batchAnswerBytesMax = 16 << 20

// kvHandler serves flotilla.v1.KVService.
type kvHandler struct {
	kv   *route.KV
	auth *intercept.Authenticator
	log  *slog.Logger
	// stopping is closed when the node begins to stop.
	stopping <-chan struct{}
	// stallMax is how long a caller of a stream may take nothing.
	stallMax time.Duration
	// apiURL finds other nodes; nil if callers are not told of them.
	apiURL func(node string) string
	unread *unread.Answers
}

// Get implements KVService.
func (h *kvHandler) Get(ctx context.Context, req *flotillav1.GetRequest) (*flotillav1.GetResponse, error) {
	return route.Do[*flotillav1.GetResponse](ctx, h.kv, req)
}

// Put implements KVService.
func (h *kvHandler) Put(ctx context.Context, req *flotillav1.PutRequest) (*flotillav1.PutResponse, error) {
	return route.Do[*flotillav1.PutResponse](ctx, h.kv, req)
}

// Delete implements KVService.
func (h *kvHandler) Delete(ctx context.Context, req *flotillav1.DeleteRequest) (*flotillav1.DeleteResponse, error) {
	return route.Do[*flotillav1.DeleteResponse](ctx, h.kv, req)
}

// Range implements KVService.
func (h *kvHandler) Range(ctx context.Context, req *flotillav1.RangeRequest) (*flotillav1.RangeResponse, error) {
	return route.Do[*flotillav1.RangeResponse](ctx, h.kv, req)
}

// RangeStream implements KVService.
func (h *kvHandler) RangeStream(ctx context.Context, req *flotillav1.RangeStreamRequest, stream *connect.ServerStream[flotillav1.RangeStreamResponse]) error {
	keys := req.GetRange()
	if keys == nil {
		return &mvcc.InvalidError{Field: "range", Message: "must be set"}
	}
	stall := intercept.NewStall(ctx, h.stallMax)
	defer stall.Close()
	return h.kv.RangeStream(ctx, keys, func(part *flotillav1.RangeResponse) error {
		if err := h.auth.StillValid(ctx); err != nil {
			return err
		}
		return stall.Send(func() error { return stream.Send(&flotillav1.RangeStreamResponse{Range: part}) })
	})
}

// Txn implements KVService.
func (h *kvHandler) Txn(ctx context.Context, req *flotillav1.TxnRequest) (*flotillav1.TxnResponse, error) {
	return route.Do[*flotillav1.TxnResponse](ctx, h.kv, req)
}

// Compact implements KVService.
func (h *kvHandler) Compact(ctx context.Context, req *flotillav1.CompactRequest) (*flotillav1.CompactResponse, error) {
	return route.Do[*flotillav1.CompactResponse](ctx, h.kv, req)
}

// Batch implements KVService.
func (h *kvHandler) Batch(ctx context.Context, req *flotillav1.BatchRequest) (*flotillav1.BatchResponse, error) {
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return nil, tenancy.ErrUnauthenticated
	}
	if err := principal.Limits.CheckBatch(len(req.GetOperations())); err != nil {
		return nil, err
	}
	place := make(map[*flotillav1.Operation]int, len(req.GetOperations()))
	for i, op := range req.GetOperations() {
		place[op] = i
	}
	// Each operation has its own place, so the answers need no lock.
	results := make([]*flotillav1.OperationResult, len(place))
	var answered atomic.Int64
	pipeline := h.kv.NewPipeline(operationTimeout, func(op *flotillav1.Operation, response proto.Message, err error) {
		result := h.resultOf(ctx, op, response, err)
		answered.Add(int64(resultBytes(result)))
		results[place[op]] = result
	}, func(context.Context) error {
		if bytes := answered.Load(); bytes > batchAnswerBytesMax {
			return &mvcc.TooLargeError{Limit: "batch_answer_bytes_max", Value: uint64(bytes), Max: batchAnswerBytesMax}
		}
		return nil
	})
	pipeline.Start(ctx, req.GetOperations())
	pipeline.Wait()
	return &flotillav1.BatchResponse{Results: results}, nil
}

// resultOf is the answer to an operation as the API spells it.
func (h *kvHandler) resultOf(ctx context.Context, op *flotillav1.Operation, response proto.Message, err error) *flotillav1.OperationResult {
	result := &flotillav1.OperationResult{Id: op.GetId()}
	if err != nil {
		if apierr.IsInternal(err) {
			h.log.Error("operation failed", "procedure", "batch or pipeline", "request_id", intercept.RequestID(ctx), "err", err)
		}
		result.Result = &flotillav1.OperationResult_Error{Error: apierr.ToProto(err, intercept.RequestID(ctx))}
		return result
	}
	switch r := response.(type) {
	case *flotillav1.GetResponse:
		result.Result = &flotillav1.OperationResult_Get{Get: r}
	case *flotillav1.RangeResponse:
		result.Result = &flotillav1.OperationResult_Range{Range: r}
	case *flotillav1.PutResponse:
		result.Result = &flotillav1.OperationResult_Put{Put: r}
	case *flotillav1.DeleteResponse:
		result.Result = &flotillav1.OperationResult_Delete{Delete: r}
	case *flotillav1.TxnResponse:
		result.Result = &flotillav1.OperationResult_Txn{Txn: r}
	}
	return result
}
