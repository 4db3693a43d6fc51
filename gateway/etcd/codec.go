package etcd

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that is wrapped
	"google.golang.org/grpc/mem"
)

// encodedMessage is a message that was encoded before, in parts: many watches
// are told the same events, which are encoded once and not copied.
type encodedMessage [][]byte

// codec sends encoded messages as they are, notices when messages that
// count until then were written, and does all else as grpc does.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(message any) (mem.BufferSlice, error) {
	switch m := message.(type) {
	case encodedMessage:
		parts := make(mem.BufferSlice, len(m))
		for i, part := range m {
			parts[i] = mem.SliceBuffer(part)
		}
		return parts, nil
	case heldMessage:
		return m.encode()
	}
	return c.CodecV2.Marshal(message)
}
