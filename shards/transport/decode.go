package transport

import (
	"errors"
	"fmt"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// The library's decoders trust what they are given: on some bytes they loop for
// ever, recurse without end, or allocate a hundred times what they were given. So
// the outline of a message is checked first, by a decoder that does not: wire
// types, lengths, how deep and how many. Should a panic be left, it becomes an
// error: the bytes are another node's, and this one goes on.

// The library gathers messages up to 64 MiB and counts at least 192 bytes for
// each, and 128 for each entry.
const (
	messagesMax = 1 << 19
	entriesMax  = 1 << 20
	filesMax    = 1 << 12
)

var errMalformed = errors.New("a message is malformed")

// decodeBatch decodes a batch of messages. It keeps nothing of b.
func decodeBatch(b []byte) (batch pb.MessageBatch, err error) {
	defer recovered(&err)
	if err := check(b, shapeBatch); err != nil {
		return pb.MessageBatch{}, err
	}
	if err := batch.Unmarshal(b); err != nil {
		return pb.MessageBatch{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return batch, nil
}

// decodeChunk decodes a chunk of a snapshot. It keeps nothing of b.
func decodeChunk(b []byte) (chunk pb.Chunk, err error) {
	defer recovered(&err)
	if err := check(b, shapeChunk); err != nil {
		return pb.Chunk{}, err
	}
	if err := chunk.Unmarshal(b); err != nil {
		return pb.Chunk{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return chunk, nil
}

func recovered(err *error) {
	if what := recover(); what != nil {
		*err = fmt.Errorf("%w: %v", errMalformed, what)
	}
}

// shape is which of the library's messages some bytes should be.
type shape int

const (
	shapeNone shape = iota // a string, bytes, or an entry, which is no such message
	shapeBatch
	shapeMessage
	shapeEntry
	shapeSnapshot
	shapeFile
	shapeMembership
	shapePair
	shapeChunk
)

// inner is the shape of a field, if it is a message itself.
func (s shape) inner(field protowire.Number) shape {
	switch {
	case s == shapeBatch && field == 1:
		return shapeMessage
	case s == shapeMessage && field == 11:
		return shapeEntry
	case s == shapeMessage && field == 12:
		return shapeSnapshot
	case s == shapeSnapshot && field == 6, s == shapeChunk && field == 10:
		return shapeMembership
	case s == shapeSnapshot && field == 7, s == shapeChunk && field == 18:
		return shapeFile
	case s == shapeMembership && field >= 2 && field <= 5:
		return shapePair
	}
	return shapeNone
}

// counts is how many there are in a whole frame.
type counts struct{ messages, entries, files int }

func (c *counts) add(s shape) error {
	switch s {
	case shapeMessage:
		c.messages++
	case shapeEntry:
		c.entries++
	case shapeFile:
		c.files++
	default:
	}
	if c.messages > messagesMax || c.entries > entriesMax || c.files > filesMax {
		return fmt.Errorf("%w: it holds too many messages, entries or files", errMalformed)
	}
	return nil
}

// check walks through a message of a shape. The shapes are no deeper than five.
func check(b []byte, s shape) error { return new(counts).check(b, s) }

func (c *counts) check(b []byte, s shape) error {
	for len(b) > 0 {
		field, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		inner := s.inner(field)
		switch {
		case wire == protowire.VarintType && inner == shapeNone:
			_, n = protowire.ConsumeVarint(b)
		case wire == protowire.BytesType:
			var value []byte
			value, n = protowire.ConsumeBytes(b)
			if n >= 0 && inner != shapeNone {
				if err := c.inside(value, inner); err != nil {
					return err
				}
			}
		default: // the library writes no other
			return errMalformed
		}
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
	}
	return nil
}

func (c *counts) inside(b []byte, s shape) error {
	if err := c.add(s); err != nil {
		return err
	}
	if s == shapeEntry {
		return nil // of a codec of its own, which checks its lengths
	}
	return c.check(b, s)
}
