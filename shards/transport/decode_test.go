package transport

import (
	"bytes"
	"testing"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
)

// panicked is in the text of every panic of the runtime.
const panicked = "runtime error"

// The buffer of a frame is used for the next: what was decoded must not share
// its bytes. The library's decoders copy today.
func TestDecodedKeepsNothingOfItsBytes(t *testing.T) {
	t.Parallel()
	sent := batch(1, []byte("command"))
	sent.Requests = append(sent.Requests, pb.Message{Type: pb.InstallSnapshot, Snapshot: pb.Snapshot{
		Filepath: "file", Checksum: []byte("checksum"), Membership: pb.Membership{Addresses: map[uint64]string{1: "a"}},
		Files: []*pb.SnapshotFile{{Filepath: "other", FileId: 1, Metadata: []byte("metadata")}},
	}})
	b := encode(t, &sent)
	want := bytes.Clone(b)
	got, err := decodeBatch(b)
	require.NoError(t, err)
	clear(b)
	require.Equal(t, want, encode(t, &got))

	piece := chunk(0, 1, []byte("data"))
	piece.Membership.Addresses = map[uint64]string{1: "a"}
	b = encode(t, &piece)
	want = bytes.Clone(b)
	gotChunk, err := decodeChunk(b)
	require.NoError(t, err)
	clear(b)
	require.Equal(t, want, encode(t, &gotChunk))
}

// Bytes that are cheap to send and expensive to decode are refused.
func TestCountsAreBounded(t *testing.T) {
	t.Parallel()
	field := func(tag byte, inner []byte) []byte {
		if len(inner) > 127 {
			require.FailNow(t, "one byte of length is not enough")
		}
		return append([]byte{tag, byte(len(inner))}, inner...)
	}
	emptyMessage := field(0x0a, nil)
	fullOfEntries := func(n int) []byte {
		entries := bytes.Repeat(field(0x5a, []byte{0x7f}), 40)
		return bytes.Repeat(field(0x0a, entries), n/40)
	}
	_, err := decodeBatch(bytes.Repeat(emptyMessage, messagesMax+1))
	require.ErrorIs(t, err, errMalformed)
	require.NoError(t, check(bytes.Repeat(emptyMessage, messagesMax), shapeBatch))
	_, err = decodeBatch(fullOfEntries(entriesMax + 80))
	require.ErrorIs(t, err, errMalformed)
	require.NoError(t, check(fullOfEntries(entriesMax), shapeBatch))
	got, err := decodeBatch(fullOfEntries(80))
	require.NoError(t, err)
	require.Len(t, got.Requests, 2)
	require.Len(t, got.Requests[1].Entries, 40)
}

// A panic of the library's decoders, should one be left, is an error.
func TestPanicsAreErrors(t *testing.T) {
	t.Parallel()
	decode := func() (err error) {
		defer recovered(&err)
		none := bytes.Fields(nil)
		_ = none[len(none)]
		return nil
	}
	require.ErrorIs(t, decode(), errMalformed)
	require.ErrorContains(t, decode(), panicked)
}
