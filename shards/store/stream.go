package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A snapshot stream, byte by byte; numbers are big endian:
//
//	header | "FLOTSNAP" | version | crc32c of what is before |
//	       | 8 B        | 4 B     | 4 B                      |
//
//	frame  | length of payload | crc32c of payload | payload |
//	       | 4 B               | 4 B               |
//
//	payload of rows | 01 | zstd: rows in order of their keys (appendStreamRow) |
//	payload of end  | 02 | number of rows | SHA-256 of all rows |
//	                | 1 B| 8 B            | 32 B                |
//
// Frames of rows follow each other until the one of end, behind which nothing
// is read. A row is never split over frames. The shard is not in it, so any
// shard can be restored from it.
const (
	streamMagic          = "FLOTSNAP"
	streamVersion uint32 = 1

	streamHeaderBytes = len(streamMagic) + 4 + 4
	frameHeaderBytes  = 4 + 4

	frameRows byte = 1
	frameEnd  byte = 2

	endBytes = 1 + 8 + len(Hash{})

	// rowsBytes is how much a frame of rows collects before it is written.
	rowsBytes = 256 << 10
	// rowsBytesMax bounds the rows of a frame: the last one can be large.
	rowsBytesMax = rowsBytes + RowBytesMax + 64
	// payloadBytesMax leaves room for what zstd adds to data that it cannot
	// compress.
	payloadBytesMax = rowsBytesMax + rowsBytesMax/64 + 1024
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once by the library

// streamWriter writes a snapshot stream.
type streamWriter struct {
	w       io.Writer
	admit   func(bytes int) error // waits until so much may be written
	encoder *zstd.Encoder
	digest  *digest
	rows    []byte
	frame   []byte // buffer
}

func newStreamWriter(w io.Writer, admit func(bytes int) error) (*streamWriter, error) {
	// The stream has a better checksum. One goroutine is enough, and fast.
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("make a compressor: %w", err)
	}
	return &streamWriter{w: w, admit: admit, encoder: encoder, digest: newDigest()}, nil
}

func streamHeader(version uint32) []byte {
	h := binary.BigEndian.AppendUint32([]byte(streamMagic), version)
	return binary.BigEndian.AppendUint32(h, crc32.Checksum(h, castagnoli()))
}

func (s *streamWriter) header() error {
	s.frame = append(s.frame[:0], streamHeader(streamVersion)...)
	return s.write()
}

// row adds the next row; the key is without the shard.
func (s *streamWriter) row(key, value []byte) error {
	start := len(s.rows)
	s.rows = appendStreamRow(s.rows, key, value)
	s.digest.add(s.rows[start:])
	if len(s.rows) < rowsBytes {
		return nil
	}
	return s.flushRows()
}

func (s *streamWriter) flushRows() error {
	s.beginFrame(frameRows)
	s.frame = s.encoder.EncodeAll(s.rows, s.frame)
	s.rows = s.rows[:0]
	return s.endFrame()
}

// end writes what is left and the final frame.
func (s *streamWriter) end() error {
	if len(s.rows) > 0 {
		if err := s.flushRows(); err != nil {
			return err
		}
	}
	sum := s.digest.sum()
	s.beginFrame(frameEnd)
	s.frame = binary.BigEndian.AppendUint64(s.frame, s.digest.rows)
	s.frame = append(s.frame, sum[:]...)
	return s.endFrame()
}

func (s *streamWriter) beginFrame(kind byte) {
	s.frame = append(s.frame[:0], make([]byte, frameHeaderBytes)...)
	s.frame = append(s.frame, kind)
}

func (s *streamWriter) endFrame() error {
	payload := s.frame[frameHeaderBytes:]
	binary.BigEndian.PutUint32(s.frame, uint32(len(payload)))
	binary.BigEndian.PutUint32(s.frame[4:], crc32.Checksum(payload, castagnoli()))
	return s.write()
}

func (s *streamWriter) write() error {
	if err := s.admit(len(s.frame)); err != nil {
		return err
	}
	if _, err := s.w.Write(s.frame); err != nil {
		return fmt.Errorf("write a snapshot: %w", err)
	}
	return nil
}
