package etcd

import (
	"runtime"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/unread"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// freeAnswerBytes is the size up to which an answer is not counted, so that the
// many small ones cost nothing. How many there can be is bounded by
// Config.StreamsMax.
const freeAnswerBytes = 32 << 10

// hold is what one answer has of what its tenant's callers may leave unread: while it
// is gathered, and until it was taken. While an answer is encoded it is in memory
// twice, and counted once. Not safe for concurrent use.
type hold struct {
	answers *unread.Answers
	tenant  tenancy.TenantID
	part    *unread.Part // nil while it has nothing
	bytes   int
}

// resize makes the hold one of an answer with so many bytes, or refuses with etcd's
// "too many requests".
func (h *hold) resize(bytes int) error {
	if bytes <= freeAnswerBytes {
		h.release()
		return nil
	}
	if h.part == nil {
		h.part = h.answers.Open(h.tenant)
	}
	if bytes < h.bytes {
		h.part.GiveBack(h.bytes - bytes)
	} else if bytes > h.bytes && !h.part.Take(bytes-h.bytes) {
		return rpctypes.ErrGRPCRequestTooManyRequests
	}
	h.bytes = bytes
	return nil
}

func (h *hold) release() {
	if h.part != nil {
		h.part.GiveBack(h.bytes)
		h.part.Close()
		h.part, h.bytes = nil, 0
	}
}

// attach returns the message such that the hold lasts until the message was
// written to the connection, or dropped with it. The hold is empty then.
func (h *hold) attach(message proto.Message) any {
	if h.bytes == 0 {
		return message
	}
	attached := *h
	held := &heldBuffer{BufferPool: mem.DefaultBufferPool(), release: sync.OnceFunc(attached.release)}
	h.part, h.bytes = nil, 0
	return heldMessage{message: message, buffer: held}
}

// heldMessage is a message that counts until it was written.
type heldMessage struct {
	message proto.Message
	buffer  *heldBuffer
}

// heldBuffer is where the only buffer of an encoded message goes when it was
// written, see mem.NewBuffer.
type heldBuffer struct {
	mem.BufferPool
	release func()
}

// Put implements mem.BufferPool.
func (b *heldBuffer) Put(buffer *[]byte) {
	b.BufferPool.Put(buffer)
	b.release()
}

// encode encodes the message into one buffer. grpc does not let go of what it
// had not begun to write when a connection ended, but forgets it: then the
// collector gives the bytes back.
func (m heldMessage) encode() (mem.BufferSlice, error) {
	buffer := m.buffer.Get(proto.Size(m.message))
	encoded, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend((*buffer)[:0], m.message)
	if err != nil {
		m.buffer.Put(buffer)
		return nil, err
	}
	*buffer = encoded
	runtime.AddCleanup(m.buffer, func(release func()) { release() }, m.buffer.release)
	return mem.BufferSlice{mem.NewBuffer(buffer, m.buffer)}, nil
}

// answerBytes is about how much an answer takes that may be large.
func answerBytes(answer any) int {
	switch a := answer.(type) {
	case *pb.RangeResponse:
		return keyValuesBytes(a.GetKvs())
	case *pb.PutResponse:
		return keyValueBytes(a.GetPrevKv())
	case *pb.DeleteRangeResponse:
		return keyValuesBytes(a.GetPrevKvs())
	case *pb.TxnResponse:
		bytes := 0
		for _, op := range a.GetResponses() {
			bytes += operationBytes(op)
		}
		return bytes
	}
	return 0
}

func operationBytes(op *pb.ResponseOp) int {
	switch o := op.GetResponse().(type) {
	case *pb.ResponseOp_ResponseRange:
		return answerBytes(o.ResponseRange)
	case *pb.ResponseOp_ResponsePut:
		return answerBytes(o.ResponsePut)
	case *pb.ResponseOp_ResponseDeleteRange:
		return answerBytes(o.ResponseDeleteRange)
	case *pb.ResponseOp_ResponseTxn:
		return answerBytes(o.ResponseTxn)
	}
	return 0
}

func keyValuesBytes(kvs []*mvccpb.KeyValue) int {
	bytes := 0
	for _, kv := range kvs {
		bytes += keyValueBytes(kv)
	}
	return bytes
}

func keyValueBytes(kv *mvccpb.KeyValue) int {
	if kv == nil {
		return 0
	}
	return len(kv.GetKey()) + len(kv.GetValue()) + mvcc.AnswerKeyBytes
}
