package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"slices"
	"time"
)

// After the handshake a connection carries frames, one for each batch of
// messages or chunk of a snapshot. Numbers are big-endian, checksums CRC-32C. The
// header has its own, so that a wrong length is noticed at once, and not when the
// bytes that it tells of do not come.
//
//	 0  4  n, length of the payload, at least 1
//	 4  4  checksum of the payload
//	 8  4  checksum of bytes 0 to 8
//	12  n  payload
//
// On a connection for a snapshot one byte comes back: done (1) when the last
// chunk was taken. If a chunk is refused the connection ends without it.
const (
	frameHeaderBytes = 12
	snapshotDone     = 1

	// The library gathers messages up to 64 MiB, and a message that is larger
	// goes alone. A chunk has 2 MiB of a snapshot and what describes it.
	batchBytesMax = 64<<20 + 4<<20
	chunkBytesMax = 4 << 20

	// growBytes is how much room a frame gets before it has come: more is made
	// as its bytes arrive.
	growBytes = 1 << 20
	// keepBytesMax is the largest buffer that is kept for the next frame.
	keepBytesMax = 4 << 20
	readerBytes  = 64 << 10
)

var errFrameHeader = errors.New("the header of a frame is damaged")

// frameSizeError is a frame that is longer than any that is sent, or empty.
type frameSizeError struct{ size, max int }

func (e *frameSizeError) Error() string {
	return fmt.Sprintf("a frame of %d bytes is outside of 1 to %d", e.size, e.max)
}

// sealFrame fills the header of a frame whose payload is there already.
func sealFrame(frame []byte) {
	payload := frame[frameHeaderBytes:]
	binary.BigEndian.PutUint32(frame, uint32(len(payload)))
	binary.BigEndian.PutUint32(frame[4:], crc32.Checksum(payload, castagnoli))
	binary.BigEndian.PutUint32(frame[8:], crc32.Checksum(frame[:8], castagnoli))
}

// frameReader reads the frames of a connection.
type frameReader struct {
	patient *patientReader
	in      *bufio.Reader
	max     int
	// idle is how long the next frame may take to begin. One that has begun
	// may pause for stallTimeout.
	idle time.Duration
	buf  []byte
}

func newFrameReader(conn net.Conn, bytesMax int, idle time.Duration) *frameReader {
	patient := &patientReader{conn: conn}
	return &frameReader{
		patient: patient, in: bufio.NewReaderSize(patient, readerBytes),
		max: bytesMax, idle: idle,
	}
}

// next returns the payload of the next frame, good until the next call. io.EOF
// is an end between two frames.
func (f *frameReader) next() ([]byte, error) {
	f.patient.patience = f.idle
	var header [frameHeaderBytes]byte
	if _, err := io.ReadFull(f.in, header[:]); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint32(header[8:]) != crc32.Checksum(header[:8], castagnoli) {
		return nil, errFrameHeader
	}
	size := int(binary.BigEndian.Uint32(header[:]))
	if size == 0 || size > f.max {
		return nil, &frameSizeError{size: size, max: f.max}
	}
	f.patient.patience = stallTimeout
	if err := f.fill(size); err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint32(header[4:]) != crc32.Checksum(f.buf, castagnoli) {
		return nil, errChecksum
	}
	return f.buf, nil
}

// fill reads a payload, and makes room for it as it comes: a length alone takes
// no memory.
func (f *frameReader) fill(size int) error {
	if cap(f.buf) > keepBytesMax {
		f.buf = nil
	}
	f.buf = f.buf[:0]
	for have := 0; have < size; have = len(f.buf) {
		part := min(size-have, max(growBytes, have))
		f.buf = slices.Grow(f.buf, part)[:have+part]
		if _, err := io.ReadFull(f.in, f.buf[have:]); err != nil {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// patientReader gives each read of a connection so much time.
type patientReader struct {
	conn     net.Conn
	patience time.Duration
}

func (r *patientReader) Read(b []byte) (int, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(r.patience)); err != nil {
		return 0, err
	}
	return r.conn.Read(b)
}
