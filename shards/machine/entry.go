package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// An entry of the Raft log holds the commands of one group commit:
//
//	byte  0      format, 2
//	bytes 1-8    proposer: a number drawn at random by each start of a node, little endian
//	bytes 9-16   sequence number of the entry among the proposer's, little endian
//	bytes 17-24  the proposing leader's clock, milliseconds since 1970, little endian
//	bytes 25-32  the proposing leader's estimate of the shard's clock, in milliseconds, little endian
//	then for each command
//	             its length (uvarint), and an internal.v1.Command
//
// Proposer and sequence number let the replica that proposed an entry find
// those who wait for its answers; the state never depends on them.
//
// Of the two clocks the first tells people and policies when something
// happened; it jumps when a node's clock is set. The second measures how long
// something lasts, such as a lease: it moves with the nodes' monotonic clocks.
const (
	entryFormat = 2
	headerBytes = 33
)

// Header is the fixed part of an entry.
type Header struct {
	Proposer uint64
	Sequence uint64
	// TimeMS is the proposing leader's clock in milliseconds since 1970.
	TimeMS uint64
	// ClockMS is the proposing leader's estimate of the shard's clock in
	// milliseconds.
	ClockMS uint64
}

// ErrBadEntry says that a log entry cannot be decoded. The replica that meets
// one must halt: skipping it would make it differ from the others.
var ErrBadEntry = errors.New("malformed log entry")

// AppendHeader begins an entry.
func AppendHeader(dst []byte, h Header) []byte {
	dst = append(dst, entryFormat)
	dst = binary.LittleEndian.AppendUint64(dst, h.Proposer)
	dst = binary.LittleEndian.AppendUint64(dst, h.Sequence)
	dst = binary.LittleEndian.AppendUint64(dst, h.TimeMS)
	return binary.LittleEndian.AppendUint64(dst, h.ClockMS)
}

// AppendCommand adds an encoded command to an entry.
func AppendCommand(dst, command []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(command)))
	return append(dst, command...)
}

// DecodeHeader splits an entry into its header and its commands.
func DecodeHeader(entry []byte) (h Header, commands []byte, err error) {
	if len(entry) < headerBytes {
		return Header{}, nil, fmt.Errorf("%w: %d bytes are less than a header", ErrBadEntry, len(entry))
	}
	if entry[0] != entryFormat {
		return Header{}, nil, fmt.Errorf("%w: format %d, this version knows %d", ErrBadEntry, entry[0], entryFormat)
	}
	return Header{
		Proposer: binary.LittleEndian.Uint64(entry[1:]),
		Sequence: binary.LittleEndian.Uint64(entry[9:]),
		TimeMS:   binary.LittleEndian.Uint64(entry[17:]),
		ClockMS:  binary.LittleEndian.Uint64(entry[25:]),
	}, entry[headerBytes:], nil
}

// splitCommands visits the encoded commands of an entry.
func splitCommands(commands []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for len(commands) > 0 {
			length, n := binary.Uvarint(commands)
			if n <= 0 || length > uint64(len(commands)-n) {
				yield(nil, fmt.Errorf("%w: a command is longer than the entry", ErrBadEntry))
				return
			}
			if !yield(commands[n:n+int(length)], nil) {
				return
			}
			commands = commands[n+int(length):]
		}
	}
}
