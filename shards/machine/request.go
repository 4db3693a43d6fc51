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

// How long the answer to a mutation with a request id is kept: for as many
// later ones on the shard, and at most as long. These bounds decide what is
// stored, so all replicas must share them.
const (
	requestsKeptMax = 1 << 19
	requestKeptMS   = 10 * 60 * 1000
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

// requestIndex finds the kept answers. In memory is only where an answer is;
// the answers are in one row per log entry, so keeping them costs a row for a
// whole group commit and forgetting them one deletion.
type requestIndex struct {
	at map[requestDigest]uint64 // the entry that holds the answer; pendingEntry for the present one
	// kept is the entries with answers, oldest first: kept[head:].
	kept    []keptEntry
	head    int
	pending internalv1.RequestAnswers
}

type keptEntry struct {
	index   uint64
	timeMS  uint64
	digests []requestDigest
}

const pendingEntry = 0 // no log entry has this index

func newRequestIndex() *requestIndex {
	return &requestIndex{at: make(map[requestDigest]uint64)}
}

// load reads the index from the rows.
func (r *requestIndex) load(rows Rows) error {
	it := rows.Rows(TableRequests, shardRows, nil, nil)
	for it.Next() {
		index := binary.BigEndian.Uint64(it.Key())
		value, err := it.Value()
		if err != nil {
			return errJoinClose(it, fmt.Errorf("load kept answers: %w", err))
		}
		var row internalv1.RequestAnswers
		if err := proto.Unmarshal(value, &row); err != nil {
			return errJoinClose(it, fmt.Errorf("decode kept answers: %w", err))
		}
		r.admit(index, &row)
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("load kept answers: %w", err)
	}
	return nil
}

func (r *requestIndex) admit(index uint64, row *internalv1.RequestAnswers) {
	digests := make([]requestDigest, len(row.GetAnswers()))
	for i, a := range row.GetAnswers() {
		digests[i] = requestDigest(a.GetDigest())
		r.at[digests[i]] = index
	}
	r.kept = append(r.kept, keptEntry{index: index, timeMS: row.GetTimeMs(), digests: digests})
}

// find returns the kept answer to a request, or nil if it was not applied
// within what is kept.
func (r *requestIndex) find(rows Rows, digest requestDigest, kind requestKind) (proto.Message, error) {
	index, ok := r.at[digest]
	if !ok {
		return nil, nil
	}
	answers := &r.pending
	if index != pendingEntry {
		value, ok, err := rows.Row(TableRequests, shardRows, indexKey(index))
		if err != nil {
			return nil, fmt.Errorf("read a kept answer: %w", err)
		}
		if !ok {
			return nil, fmt.Errorf("the kept answers of entry %d are gone", index)
		}
		answers = &internalv1.RequestAnswers{}
		if err := proto.Unmarshal(value, answers); err != nil {
			return nil, fmt.Errorf("decode a kept answer: %w", err)
		}
	}
	for _, a := range answers.GetAnswers() {
		if requestDigest(a.GetDigest()) == digest {
			return decodeAnswer(a, kind)
		}
	}
	return nil, fmt.Errorf("the kept answers of entry %d lack one", index)
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

// keep remembers the answer to a request of the present entry.
func (r *requestIndex) keep(digest requestDigest, kind requestKind, revision mvcc.Revision, response proto.Message) {
	a := &internalv1.RequestAnswer{Digest: digest[:], Kind: uint32(kind), Revision: uint64(revision)}
	if proto.Size(response) <= answerBytesMax {
		// Encoding a message that was just built cannot fail; if it did, the
		// answer would count as too large.
		a.Response, _ = proto.MarshalOptions{Deterministic: true}.Marshal(response)
	}
	r.pending.Answers = append(r.pending.Answers, a)
	r.at[digest] = pendingEntry
}

// endEntry stores the answers of the present entry and forgets old ones.
func (r *requestIndex) endEntry(b Batch, index, nowMS uint64) error {
	if len(r.pending.GetAnswers()) == 0 {
		return nil
	}
	r.pending.TimeMs = nowMS
	row, err := proto.MarshalOptions{Deterministic: true}.Marshal(&r.pending)
	if err != nil {
		return fmt.Errorf("encode kept answers: %w", err)
	}
	if err := b.SetRow(TableRequests, shardRows, indexKey(index), row); err != nil {
		return fmt.Errorf("keep answers: %w", err)
	}
	r.admit(index, &r.pending)
	r.pending.Reset()
	for r.head < len(r.kept) && (len(r.at) > requestsKeptMax || r.kept[r.head].timeMS+requestKeptMS < nowMS) {
		if err := r.forgetOldest(b); err != nil {
			return err
		}
	}
	return nil
}

func (r *requestIndex) forgetOldest(b Batch) error {
	oldest := &r.kept[r.head]
	for _, d := range oldest.digests {
		delete(r.at, d)
	}
	if err := b.DeleteRow(TableRequests, shardRows, indexKey(oldest.index)); err != nil {
		return fmt.Errorf("forget answers: %w", err)
	}
	*oldest = keptEntry{}
	r.head++
	if r.head >= 1024 && r.head*2 >= len(r.kept) {
		n := copy(r.kept, r.kept[r.head:])
		clear(r.kept[n:])
		r.kept, r.head = r.kept[:n], 0
	}
	return nil
}

func indexKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 8), index)
}
