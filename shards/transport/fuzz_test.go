package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzHello: what is read as a hello is written as the same bytes, and no byte
// after it is read.
func FuzzHello(f *testing.F) {
	f.Add(hello{kind: kindMessages, cluster: "c", from: "a", to: "b"}.encode())
	f.Add(hello{kind: 9, cluster: strings.Repeat("c", idBytesMax), from: "a", to: "b"}.encode())
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		h, err := readHello(in)
		read := b[:len(b)-in.Len()]
		require.LessOrEqual(t, len(read), helloBytesMax)
		if err == nil {
			require.Equal(t, read, h.encode())
		}
	})
}

// FuzzAnswer is FuzzHello for the other direction.
func FuzzAnswer(f *testing.F) {
	f.Add(answer{}.encode())
	f.Add(answer{otherNode, strings.Repeat("why", 100)}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		a, err := readAnswer(in)
		if err == nil {
			require.Equal(t, b[:len(b)-in.Len()], a.encode())
		}
	})
}

// FuzzFrames: a stream is frames, each of which is written as the same bytes, and
// then an error. What was announced and did not come takes no memory.
func FuzzFrames(f *testing.F) {
	f.Add(append(frameOf([]byte("one")), frameOf([]byte("two"))...))
	f.Add(frameOf(make([]byte, 100))[:50])
	f.Add(frameOf(make([]byte, chunkBytesMax))[:50])
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		frames := newFrameReader(&readOnly{r: bytes.NewReader(b)}, chunkBytesMax, time.Second)
		for {
			payload, err := frames.next()
			if err != nil {
				if errors.Is(err, io.EOF) {
					require.Empty(t, b, "an end between frames")
				}
				break
			}
			frame := frameOf(payload)
			require.Equal(t, b[:len(frame)], frame)
			b = b[len(frame):]
		}
		require.LessOrEqual(t, cap(frames.buf), 2*(len(b)+growBytes))
	})
}

// FuzzBatch: no bytes make the library's decoder panic, loop or recurse.
func FuzzBatch(f *testing.F) {
	sent := batch(1, []byte("command"))
	b, err := sent.Marshal()
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte{0x0a, 0x00, 0x0a, 0xf5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add([]byte{0x0a, 0x04, 0x62, 0x02, 0x3a, 0x00})
	f.Add(bytes.Repeat([]byte{0x1b}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeBatch(b)
		if err != nil {
			require.ErrorIs(t, err, errMalformed)
			require.NotContains(t, err.Error(), panicked, "the outline was not checked well enough")
		} else {
			again, err := decodeBatch(encode(t, &got))
			require.NoError(t, err)
			require.Len(t, again.Requests, len(got.Requests))
		}
	})
}

// FuzzChunk is FuzzBatch for chunks.
func FuzzChunk(f *testing.F) {
	sent := chunk(1, 2, []byte("data"))
	b, err := sent.Marshal()
	require.NoError(f, err)
	f.Add(b)
	f.Add([]byte{0x52, 12, 0x12, 10, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeChunk(b)
		if err != nil {
			require.ErrorIs(t, err, errMalformed)
			require.NotContains(t, err.Error(), panicked, "the outline was not checked well enough")
		} else {
			_, err := decodeChunk(encode(t, &got))
			require.NoError(t, err)
		}
	})
}

// readOnly is a connection that something is read from.
type readOnly struct {
	net.Conn
	r io.Reader
}

func (c *readOnly) Read(b []byte) (int, error)      { return c.r.Read(b) }
func (c *readOnly) SetReadDeadline(time.Time) error { return nil }
