package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// streamReader reads a snapshot stream and checks all of it. It holds two
// frames in memory.
type streamReader struct {
	r       io.Reader
	stop    <-chan struct{}
	decoder *zstd.Decoder
	digest  *digest
	frame   bytes.Buffer
	rows    []byte // of the present frame
	rest    []byte // of rows, yet to be read
	last    []byte // the key read last
}

func newStreamReader(r io.Reader, stop <-chan struct{}) (*streamReader, error) {
	decoder, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(rowsBytesMax)))
	if err != nil {
		return nil, fmt.Errorf("make a decompressor: %w", err)
	}
	return &streamReader{r: r, stop: stop, decoder: decoder, digest: newDigest()}, nil
}

func (s *streamReader) close() { s.decoder.Close() }

func corrupt(reason string, err error) error { return &CorruptSnapshotError{Reason: reason, Err: err} }

// header reads the header.
func (s *streamReader) header() error {
	if err := s.read(streamHeaderBytes); err != nil {
		return err
	}
	h := s.frame.Bytes()
	if !bytes.HasPrefix(h, []byte(streamMagic)) {
		return corrupt("it is not a snapshot", nil)
	}
	sum := len(h) - 4
	if binary.BigEndian.Uint32(h[sum:]) != crc32.Checksum(h[:sum], castagnoli()) {
		return corrupt("the header is damaged", nil)
	}
	if v := binary.BigEndian.Uint32(h[len(streamMagic):]); v > streamVersion {
		return &NewerFormatError{What: "snapshot", Stored: v, Supported: streamVersion}
	} else if v != streamVersion {
		return corrupt("its version is unknown", nil)
	}
	return nil
}

// errStreamEnd says that the end was reached and all was found intact. io.EOF
// will not do: it is what a stream that is cut short gives.
var errStreamEnd = errors.New("end of the snapshot")

// next returns the next row, without the shard, or errStreamEnd. The slices
// are valid until the next call.
func (s *streamReader) next() (key, value []byte, err error) {
	for len(s.rest) == 0 {
		if err := s.nextFrame(); err != nil {
			return nil, nil, err
		}
	}
	row := s.rest
	key, rest, ok := cutBytes(row)
	if !ok {
		return nil, nil, corrupt("a key is cut short", nil)
	}
	value, rest, ok = cutBytes(rest)
	if !ok {
		return nil, nil, corrupt("a value is cut short", nil)
	}
	s.digest.add(row[:len(row)-len(rest)])
	s.rest = rest
	if len(key) < keyBytesMin-shardBytes || validateKey(key) != nil {
		return nil, nil, corrupt("a key is malformed", nil)
	}
	if len(s.last) > 0 && compareKeys(s.last, key) >= 0 {
		return nil, nil, corrupt("keys are out of order", nil)
	}
	s.last = append(s.last[:0], key...)
	return key, value, nil
}

// nextFrame reads a frame of rows, or errStreamEnd.
func (s *streamReader) nextFrame() error {
	select {
	case <-s.stop:
		return ErrStopped
	default:
	}
	if err := s.read(frameHeaderBytes); err != nil {
		return err
	}
	h := s.frame.Bytes()
	length, sum := binary.BigEndian.Uint32(h), binary.BigEndian.Uint32(h[4:])
	if length == 0 || length > uint32(payloadBytesMax) {
		return corrupt(fmt.Sprintf("a frame has %d bytes", length), nil)
	}
	if err := s.read(int(length)); err != nil {
		return err
	}
	payload := s.frame.Bytes()
	if crc32.Checksum(payload, castagnoli()) != sum {
		return corrupt("a frame is damaged", nil)
	}
	switch payload[0] {
	case frameRows:
		return s.decodeRows(payload[1:])
	case frameEnd:
		return s.checkEnd(payload)
	}
	return corrupt(fmt.Sprintf("a frame is of unknown kind %d", payload[0]), nil)
}

func (s *streamReader) decodeRows(compressed []byte) error {
	var err error
	if s.rows, err = s.decoder.DecodeAll(compressed, s.rows[:0]); err != nil {
		return corrupt("rows cannot be decompressed", err)
	}
	if len(s.rows) == 0 || len(s.rows) > rowsBytesMax {
		return corrupt(fmt.Sprintf("a frame has %d bytes of rows", len(s.rows)), nil)
	}
	s.rest = s.rows
	return nil
}

func (s *streamReader) checkEnd(payload []byte) error {
	if len(payload) != endBytes {
		return corrupt("the final frame has the wrong size", nil)
	}
	if rows := binary.BigEndian.Uint64(payload[1:]); rows != s.digest.rows {
		return corrupt(fmt.Sprintf("it has %d rows instead of %d", s.digest.rows, rows), nil)
	}
	if s.digest.sum() != Hash(payload[9:]) {
		return corrupt("its rows are not those that were written", nil)
	}
	return errStreamEnd
}

// read reads n bytes into frame. Memory grows with what arrives, not with n.
func (s *streamReader) read(n int) error {
	s.frame.Reset()
	if _, err := io.CopyN(&s.frame, s.r, int64(n)); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return corrupt("it is cut short", nil)
		}
		return fmt.Errorf("read a snapshot: %w", err)
	}
	return nil
}

// cutBytes cuts bytes that their length precedes off b.
func cutBytes(b []byte) (cut, rest []byte, ok bool) {
	n, width := binary.Uvarint(b)
	if width <= 0 || n > uint64(len(b)-width) {
		return nil, nil, false
	}
	end := width + int(n)
	return b[width:end:end], b[end:], true
}
