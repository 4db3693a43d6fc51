package transport

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// rawTo is a connection to a node by somebody who need not behave.
func rawTo(t *testing.T, n *testNode) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", n.address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// introduced is one whose handshake is done.
func introduced(t *testing.T, n *testNode, k kind) net.Conn {
	t.Helper()
	conn := rawTo(t, n)
	send(t, conn, hello{kind: k, cluster: "c", from: "a", to: n.cfg.NodeID}.encode())
	reply, err := readAnswer(conn)
	require.NoError(t, err)
	require.Equal(t, answer{}, reply)
	return conn
}

func send(t *testing.T, conn net.Conn, b []byte) {
	t.Helper()
	_, err := conn.Write(b)
	require.NoError(t, err)
}

// requireEnded waits until the other side has closed a connection, and returns
// what it said before.
func requireEnded(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	said, err := io.ReadAll(conn)
	if err != nil {
		require.Equal(t, reasonClosed, reasonOf(err), "%v", err)
	}
	return said
}

func TestGarbageInsteadOfAHello(t *testing.T) {
	t.Parallel()
	good := hello{kind: kindMessages, cluster: "c", from: "a", to: "b"}.encode()
	damaged := func(at int, b byte) []byte {
		out := bytes.Clone(good)
		out[at] = b
		return out
	}
	for name, test := range map[string]struct {
		bytes []byte
		why   reason
	}{
		"noise":        {bytes.Repeat([]byte{0x5a}, 1<<20), reasonMalformed},
		"http":         {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), reasonMalformed},
		"tls":          {[]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaa"), reasonMalformed},
		"no id":        {damaged(11, 0), reasonMalformed},
		"long id":      {damaged(12, 65), reasonMalformed},
		"one bit":      {damaged(len(good)-6, 'B'), reasonMalformed},
		"nothing":      {nil, reasonClosed},
		"half a hello": {good[:len(good)-1], reasonClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startNode(t, newDirectory(), "b", nil)
			conn := rawTo(t, b)
			_, _ = conn.Write(test.bytes) // it may be cut off in the middle
			half, ok := conn.(*net.TCPConn)
			require.True(t, ok)
			_ = half.CloseWrite()
			require.Empty(t, requireEnded(t, conn))
			b.eventually("refused_handshakes_total", 1, string(test.why))
			require.NotNil(t, introduced(t, b, kindMessages), "others are served")
		})
	}
}

// What no version of today sends is refused in words.
func TestUnknownHellosAreAnswered(t *testing.T) {
	t.Parallel()
	b := startNode(t, newDirectory(), "b", nil)
	good := hello{kind: 7, cluster: "c", from: "a", to: "b"}.encode()
	conn := rawTo(t, b)
	send(t, conn, good)
	reply, err := readAnswer(conn)
	require.NoError(t, err)
	require.Equal(t, answer{unknownKind, "it does not know connections of kind 7"}, reply)
	requireEnded(t, conn)

	newer := bytes.Clone(good)
	binary.BigEndian.PutUint16(newer[len(magic):], 9)
	conn = rawTo(t, b)
	send(t, conn, append(newer, make([]byte, 500)...))
	reply, err = readAnswer(conn)
	require.NoError(t, err)
	require.Equal(t, answer{otherVersion, "it speaks version 1 of the Raft port's protocol, and this node version 9"}, reply)
	requireEnded(t, conn)
	for range 10 { // it is not reset, so that nobody misses the answer
		send(t, conn, []byte("more"))
	}

	b.eventually("refused_handshakes_total", 1, string(reasonKind))
	b.eventually("refused_handshakes_total", 1, string(reasonVersion))
}

// A node of another version answers, and is not understood any further.
func TestAnswerOfAnotherVersion(t *testing.T) {
	t.Parallel()
	dir := newDirectory()
	a := startNode(t, dir, "a", nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	dir.set("b", listener.Addr().String())
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = readHello(conn)
		newer := answer{}.encode()
		binary.BigEndian.PutUint16(newer[len(magic):], 9)
		_, _ = conn.Write(newer)
	}()
	failed := a.refused("b")
	require.ErrorContains(t, failed, "it speaks version 9 of the Raft port's protocol, and this node version 1: bring the older")
	require.Equal(t, reasonVersion, failed.reason)
}

func TestBadFramesEndTheirConnectionAlone(t *testing.T) {
	t.Parallel()
	sent := batch(1, []byte("x"))
	good := frameOf(encode(t, &sent))
	damaged := func(at int) []byte {
		out := bytes.Clone(good)
		out[at] ^= 1
		return out
	}
	sized := func(size uint32) []byte {
		header := binary.BigEndian.AppendUint32(nil, size)
		header = append(header, 1, 2, 3, 4)
		return binary.BigEndian.AppendUint32(header, crc32.Checksum(header, castagnoli))
	}
	for name, frame := range map[string][]byte{
		"oversized":             sized(batchBytesMax + 1),
		"greatest":              sized(1<<32 - 1),
		"empty":                 sized(0),
		"damaged length":        damaged(0),
		"damaged checksum":      damaged(4),
		"damaged payload":       damaged(frameHeaderBytes + 3),
		"no batch":              frameOf([]byte{0xff}),
		"looping lengths":       frameOf([]byte{0x0a, 0x00, 0x0a, 0xf5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}),
		"recursion":             frameOf(bytes.Repeat([]byte{0x1b}, 32<<20)),
		"a message of no entry": frameOf([]byte{0x0a, 0x02, 0x5a, 0x00}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startNode(t, newDirectory(), "b", nil)
			other, conn := introduced(t, b, kindMessages), introduced(t, b, kindMessages)
			_, _ = conn.Write(frame)
			require.Empty(t, requireEnded(t, conn))
			b.eventually("bad_frames_total", 1)
			b.eventually("connections", 1, "in", "messages")
			require.Empty(t, b.batches)
			send(t, other, good)
			got := receive(t, b.batches)
			require.Equal(t, encode(t, &sent), encode(t, &got))
		})
	}
}

// A connection that breaks in the middle of a frame is no damage.
func TestBrokenConnectionIsNoBadFrame(t *testing.T) {
	t.Parallel()
	b := startNode(t, newDirectory(), "b", nil)
	sent := batch(1, []byte("x"))
	frame := frameOf(encode(t, &sent))
	for _, cut := range []int{0, 1, frameHeaderBytes, len(frame) - 1} {
		conn := introduced(t, b, kindMessages)
		send(t, conn, frame[:cut])
		require.NoError(t, conn.Close())
	}
	b.eventually("connections", 0, "in", "messages")
	require.Zero(t, b.metric("bad_frames_total"))
}

func TestSnapshotFramesAreSmaller(t *testing.T) {
	t.Parallel()
	b := startNode(t, newDirectory(), "b", nil)
	conn := introduced(t, b, kindSnapshot)
	_, _ = conn.Write(frameOf(make([]byte, chunkBytesMax+1)))
	require.Empty(t, requireEnded(t, conn))
	b.eventually("bad_frames_total", 1)

	dir := newDirectory()
	dir.set("b", b.address)
	a := startNode(t, dir, "a", nil)
	require.ErrorContains(t, a.snapshotTo("b").SendChunk(chunk(0, 2, make([]byte, chunkBytesMax))), "is outside of 1 to")
}

func frameOf(payload []byte) []byte {
	frame := append(make([]byte, frameHeaderBytes), payload...)
	sealFrame(frame)
	return frame
}
