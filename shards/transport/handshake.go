package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A connection begins with the hello of the side that dials, and the answer of
// the side that it reaches. Numbers are big-endian. The checksums are CRC-32C of
// all that is before them. Magic and version stay where they are in all versions.
//
//	hello     0  8  magic "flotraft"
//	          8  2  version
//	         10  1  kind of the connection: 1 messages, 2 a snapshot
//	         11  1  c, 1 to 64
//	         12  1  f, 1 to 64
//	         13  1  t, 1 to 64
//	         14  c  cluster id
//	       14+c  f  id of the node that dials
//	     14+c+f  t  id of the node that it means to reach
//	   14+c+f+t  4  checksum
//
//	answer    0  8  magic
//	          8  2  version of the side that answers
//	         10  1  verdict
//	         11  1  n
//	         12  n  why, in words, if it is not welcome
//	       12+n  4  checksum
const (
	magic   = "flotraft"
	version = 1

	helloHeadBytes  = 14
	answerHeadBytes = 12
	checksumBytes   = 4
	idBytesMax      = 64
	helloBytesMax   = helloHeadBytes + 3*idBytesMax + checksumBytes
	wordsBytesMax   = 255
)

// kind is what a connection carries.
type kind byte

const (
	kindMessages kind = 1
	kindSnapshot kind = 2
)

func (k kind) String() string {
	switch k {
	case kindMessages:
		return "messages"
	case kindSnapshot:
		return "snapshot"
	}
	return fmt.Sprintf("kind %d", byte(k))
}

// verdict is what the side that is reached thinks of a hello.
type verdict byte

const (
	welcome verdict = iota
	otherVersion
	otherCluster
	otherNode
	unknownKind
)

// hello is who dials, and whom it means to reach.
type hello struct {
	kind              kind
	cluster, from, to string
}

// answer is what is said to a hello.
type answer struct {
	verdict verdict
	words   string
}

var (
	errNoMagic  = errors.New("it does not speak the protocol of the Raft port")
	errChecksum = errors.New("a checksum is wrong")
	errIDLength = errors.New("the length of an id is wrong")
)

// versionError is a hello or an answer of another version.
type versionError struct{ theirs uint16 }

func (e *versionError) Error() string {
	return fmt.Sprintf("it speaks version %d of the Raft port's protocol, and this node version %d", e.theirs, version)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a table of constants

// encode is the hello as it is sent.
func (h hello) encode() []byte {
	b := newHead(byte(h.kind))
	b = append(b, byte(len(h.cluster)), byte(len(h.from)), byte(len(h.to)))
	b = append(b, h.cluster...)
	b = append(b, h.from...)
	b = append(b, h.to...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readHello reads no byte more than the hello has.
func readHello(r io.Reader) (hello, error) {
	b := make([]byte, helloBytesMax)
	if err := readHead(r, b[:helloHeadBytes]); err != nil {
		return hello{}, err
	}
	c, f, t := int(b[11]), int(b[12]), int(b[13])
	for _, n := range []int{c, f, t} {
		if n == 0 || n > idBytesMax {
			return hello{}, errIDLength
		}
	}
	b = b[:helloHeadBytes+c+f+t+checksumBytes]
	if err := readChecked(r, b, helloHeadBytes); err != nil {
		return hello{}, err
	}
	ids := string(b[helloHeadBytes:])
	return hello{kind: kind(b[10]), cluster: ids[:c], from: ids[c : c+f], to: ids[c+f : c+f+t]}, nil
}

// encode is the answer as it is sent. Words that are too long are cut.
func (a answer) encode() []byte {
	words := a.words[:min(len(a.words), wordsBytesMax)]
	b := newHead(byte(a.verdict))
	b = append(b, byte(len(words)))
	b = append(b, words...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readAnswer reads no byte more than the answer has.
func readAnswer(r io.Reader) (answer, error) {
	b := make([]byte, answerHeadBytes+wordsBytesMax+checksumBytes)
	err := readHead(r, b[:answerHeadBytes])
	if err != nil {
		return answer{}, err
	}
	n := int(b[11])
	b = b[:answerHeadBytes+n+checksumBytes]
	if err := readChecked(r, b, answerHeadBytes); err != nil {
		return answer{}, err
	}
	return answer{verdict: verdict(b[10]), words: string(b[answerHeadBytes : answerHeadBytes+n])}, nil
}

func newHead(what byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte(magic), version)
	return append(b, what)
}

// readHead fills b, which begins with the magic and the version.
func readHead(r io.Reader, b []byte) error {
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if !bytes.Equal(b[:len(magic)], []byte(magic)) {
		return errNoMagic
	}
	if theirs := binary.BigEndian.Uint16(b[len(magic):]); theirs != version {
		return &versionError{theirs: theirs}
	}
	return nil
}

// readChecked fills b after what was read of it, and checks its checksum.
func readChecked(r io.Reader, b []byte, read int) error {
	if _, err := io.ReadFull(r, b[read:]); err != nil {
		return err
	}
	body := b[:len(b)-checksumBytes]
	if binary.BigEndian.Uint32(b[len(body):]) != crc32.Checksum(body, castagnoli) {
		return errChecksum
	}
	return nil
}
