package etcd

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that is wrapped
	"google.golang.org/grpc/mem"
)

// encodedMessage is a message that was encoded before, in two parts: many
// watches are told the same events, which are encoded once and not copied.
type encodedMessage struct{ head, events []byte }

// codec sends encoded messages as they are, and all others as grpc does.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(message any) (mem.BufferSlice, error) {
	if encoded, ok := message.(encodedMessage); ok {
		return mem.BufferSlice{mem.SliceBuffer(encoded.head), mem.SliceBuffer(encoded.events)}, nil
	}
	return c.CodecV2.Marshal(message)
}
