package machine

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// How many answers to mutations with request ids a shard keeps, and how long at
// most. These bounds decide what is stored, so all replicas must share them.
const (
	answersKeptMax = 1 << 19
	answerKeptMS   = 10 * 60 * 1000
	// answersOutlivedMax bounds how many answers an entry forgets for their age, but
	// for those of the last row: after an idle time there may be very many.
	answersOutlivedMax = 4096
	// answerBytesMax bounds a kept answer; of a larger one only the revision
	// is kept.
	answerBytesMax = 4096
)

// requestKind says which command a kept answer belongs to. The numbers are
// stored.
type requestKind uint32

const (
	kindPut     requestKind = 1
	kindDelete  requestKind = 2
	kindTxn     requestKind = 3
	kindCompact requestKind = 4

	kindGrantLease  requestKind = 5
	kindRevokeLease requestKind = 6
)

// AlreadyAppliedError answers a retry whose first attempt was applied when the
// answer was too large to be kept, or belongs to another kind of request.
type AlreadyAppliedError struct {
	// Revision is the namespace's revision after the first attempt.
	Revision mvcc.Revision
}

func (e *AlreadyAppliedError) Error() string {
	return fmt.Sprintf("a write with this request id was applied at revision %d", e.Revision)
}

// Refusal marks the error as a refusal: the retry changed nothing.
func (e *AlreadyAppliedError) Refusal() {}

// requestDigest identifies a request id of a namespace.
type requestDigest [16]byte

func digestOf(ns tenancy.NamespaceID, requestID string) requestDigest {
	var buf [128]byte
	full := sha256.Sum256(append(binary.LittleEndian.AppendUint64(buf[:0], uint64(ns)), requestID...))
	return requestDigest(full[:16])
}

func decodeAnswer(a *internalv1.RequestAnswer, kind requestKind) (proto.Message, error) {
	if requestKind(a.GetKind()) != kind || a.GetResponse() == nil {
		return nil, &AlreadyAppliedError{Revision: mvcc.Revision(a.GetRevision())}
	}
	var response proto.Message
	switch kind {
	case kindPut:
		response = &flotillav1.PutResponse{}
	case kindDelete:
		response = &flotillav1.DeleteResponse{}
	case kindTxn:
		response = &flotillav1.TxnResponse{}
	case kindCompact:
		response = &flotillav1.CompactResponse{}
	case kindGrantLease:
		response = &flotillav1.GrantLeaseResponse{}
	case kindRevokeLease:
		response = &flotillav1.RevokeLeaseResponse{}
	}
	if err := proto.Unmarshal(a.GetResponse(), response); err != nil {
		return nil, fmt.Errorf("decode a kept answer: %w", err)
	}
	return response, nil
}
