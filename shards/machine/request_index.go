package machine

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// requestIndex finds the kept answers. In memory is only where an answer is: the
// answers are in one row for each log entry, so keeping those of a whole group
// commit costs one row.
//
// While a shard keeps too many, the namespace that keeps the most forgets its oldest.
// So one that keeps less than an equal share of what the shard may keep forgets none
// for that. What it forgets lies among others' answers:
//
//	K1: a namespace has forgotten its answers that come before those which
//	    answers_forgotten_index and answers_forgotten of its state tell, and those
//	    whose rows are gone.
//	K2: a row goes with the last kept answer in it. While half of all that is stored
//	    is forgotten, a row of which most is forgotten is cut: it is written anew
//	    without that.
//
// By K1 the rows tell all that the index knows, and a namespace that writes stores
// its state anyway. By K2 what is stored is bounded by what was kept within ten
// minutes, and as most of a row goes when it is cut, an answer is seldom written twice.
type requestIndex struct {
	keepers
	entries keptEntries
	max     int // kept at most
	pending []pendingAnswer
	row     []byte // reused
}

// pendingAnswer is one of the present entry.
type pendingAnswer struct {
	ns     tenancy.NamespaceID
	answer *internalv1.RequestAnswer
}

func newRequestIndex(max int) *requestIndex {
	return &requestIndex{keepers: newKeepers(), max: max}
}

// find returns the kept answer to a request, or nil if it was not applied
// within what is kept.
func (r *requestIndex) find(rows Rows, digest requestDigest, kind requestKind) (proto.Message, error) {
	number, ok := r.at[digest]
	if !ok {
		return nil, nil
	}
	if number == noAnswer {
		for _, p := range r.pending {
			if requestDigest(p.answer.GetDigest()) == digest {
				return decodeAnswer(p.answer, kind)
			}
		}
	}
	entry := r.answers[number].entry
	value, err := readAnswers(rows, entry)
	if err != nil {
		return nil, err
	}
	var row internalv1.RequestAnswers
	if err := proto.Unmarshal(value, &row); err != nil {
		return nil, fmt.Errorf("decode a kept answer: %w", err)
	}
	for _, group := range groupsOf(&row) {
		for _, a := range group.GetAnswers() {
			if requestDigest(a.GetDigest()) == digest {
				return decodeAnswer(a, kind)
			}
		}
	}
	return nil, fmt.Errorf("the kept answers of entry %d lack one", entry)
}

// keep remembers the answer to a request of the present entry.
func (r *requestIndex) keep(
	ns tenancy.NamespaceID, digest requestDigest, kind requestKind, revision mvcc.Revision, response proto.Message,
) {
	a := &internalv1.RequestAnswer{Digest: digest[:], Kind: uint32(kind), Revision: uint64(revision)}
	if proto.Size(response) <= answerBytesMax {
		// Encoding a message that was just built cannot fail; if it did, the
		// answer would count as too large.
		a.Response, _ = proto.MarshalOptions{Deterministic: true}.Marshal(response)
	}
	r.pending = append(r.pending, pendingAnswer{ns, a})
	r.at[digest] = noAnswer
}

// endEntry stores the answers of the present entry and forgets old ones: fairly from
// levelFairAnswers on, before it as if all were of one namespace.
func (r *requestIndex) endEntry(b Batch, namespaces *namespaceCache, index, nowMS uint64, fairly bool) error {
	if len(r.pending) == 0 {
		return nil
	}
	row, outlivedMax := r.pendingRow(nowMS, fairly), math.MaxInt
	if fairly {
		outlivedMax = answersOutlivedMax
	}
	var err error
	if r.row, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(r.row[:0], row); err != nil {
		return fmt.Errorf("encode kept answers: %w", err)
	}
	if err := writeAnswers(b, index, r.row); err != nil {
		return err
	}
	r.admit(index, row, nil)
	clear(r.pending)
	r.pending = r.pending[:0]
	if err := r.forgetOutlived(b, nowMS, outlivedMax); err != nil {
		return err
	}
	for r.count > r.max {
		if err := r.forgetOfMost(b, namespaces); err != nil {
			return err
		}
	}
	return nil
}

// pendingRow is the row of the present entry.
func (r *requestIndex) pendingRow(nowMS uint64, byNamespace bool) *internalv1.RequestAnswers {
	row := &internalv1.RequestAnswers{TimeMs: nowMS}
	if !byNamespace {
		row.Answers = make([]*internalv1.RequestAnswer, len(r.pending))
		for i, p := range r.pending {
			row.Answers[i] = p.answer
		}
		return row
	}
	groups := make(map[tenancy.NamespaceID]*internalv1.NamespaceAnswers)
	for _, p := range r.pending {
		group := groups[p.ns]
		if group == nil {
			group = &internalv1.NamespaceAnswers{NamespaceId: uint64(p.ns)}
			groups[p.ns] = group
			row.Namespaces = append(row.Namespaces, group)
		}
		group.Answers = append(group.Answers, p.answer)
	}
	return row
}

// admit adds the answers in an entry's row but for those that are forgotten. It must
// be the newest entry.
func (r *requestIndex) admit(entry uint64, row *internalv1.RequestAnswers, forgotten map[tenancy.NamespaceID]forgottenAnswers) {
	e := keptEntry{index: entry, timeMS: row.GetTimeMs()}
	for _, group := range groupsOf(row) {
		ns, answers := tenancy.NamespaceID(group.GetNamespaceId()), group.GetAnswers()
		for _, a := range answers {
			e.stored += answerBytes(a)
		}
		f, place := forgotten[ns], group.GetFirst()
		switch {
		case entry < f.entry:
			continue
		case entry == f.entry:
			gone := min(f.upTo-place, uint64(len(answers)))
			answers, place = answers[gone:], place+gone
		}
		if len(answers) == 0 {
			continue
		}
		one := r.of(ns)
		if one.count == 0 {
			one.forgotten = place
		}
		for _, a := range answers {
			bytes := answerBytes(a)
			e.kept += bytes
			r.add(one, keptAnswer{digest: requestDigest(a.GetDigest()), entry: entry, bytes: uint32(bytes)})
		}
		r.moved(one)
		e.keepers = append(e.keepers, one)
	}
	r.entries.push(e)
}

// forgetOutlived forgets the answers of the oldest entries that are too old, and
// once it has forgotten most of them no other entry's.
func (r *requestIndex) forgetOutlived(b Batch, nowMS uint64, most int) error {
	for before := r.count; before-r.count < most; {
		e := r.entries.oldest()
		if e == nil || e.timeMS+answerKeptMS >= nowMS {
			return nil
		}
		for _, one := range e.keepers {
			if r.has(one, e.index) {
				r.forget(one, math.MaxInt)
			}
		}
		if err := dropAnswers(b, e.index); err != nil {
			return err
		}
		r.entries.remove(e)
	}
	return nil
}

// forgetOfMost forgets the oldest answers of the namespace that keeps the most, as
// many as it keeps more than the next one, and of one entry.
func (r *requestIndex) forgetOfMost(b Batch, namespaces *namespaceCache) error {
	one, most := r.most(), min(r.ahead(), r.count-r.max)
	if one.ns == shardRows { // which has no place to tell what is forgotten in a row
		most = math.MaxInt
	}
	forgotten, bytes := r.forget(one, most)
	e := r.entries.find(forgotten.entry)
	cut := r.entries.forget(e, bytes)
	if e.kept == 0 {
		r.entries.remove(e)
		return dropAnswers(b, forgotten.entry)
	}
	ns, err := namespaces.get(b, one.ns)
	if err != nil {
		return err
	}
	ns.forgotten = forgotten
	namespaces.touch(ns)
	if cut {
		return r.cut(b, e)
	}
	return nil
}

// cut writes an entry's row anew without the answers that are forgotten.
func (r *requestIndex) cut(b Batch, e *keptEntry) error {
	value, err := readAnswers(b, e.index)
	if err != nil {
		return err
	}
	r.row, err = cutAnswers(r.row[:0], value, func(ns tenancy.NamespaceID) (uint64, bool) { return r.firstOf(ns, e.index) })
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.index, err)
	}
	var kept []*keeper // not in place: what they were before is more memory
	for _, one := range e.keepers {
		if r.has(one, e.index) {
			kept = append(kept, one)
		}
	}
	e.keepers = kept
	r.entries.cut(e)
	return writeAnswers(b, e.index, r.row)
}
