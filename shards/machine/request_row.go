package machine

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/tenancy"
)

// The numbers of fields that are found without decoding the message.
const (
	fieldNamespaces = 3 // of RequestAnswers
	// Of NamespaceAnswers, in this order.
	fieldNamespaceID = 1
	fieldFirst       = 2 // if it is not 0
	fieldAnswers     = 3
)

func answersKey(entry uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 8), entry)
}

func readAnswers(rows Rows, entry uint64) ([]byte, error) {
	row, ok, err := rows.Row(TableRequests, shardRows, answersKey(entry))
	if err != nil {
		return nil, fmt.Errorf("read kept answers: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("the kept answers of entry %d are gone", entry)
	}
	return row, nil
}

func writeAnswers(b Batch, entry uint64, row []byte) error {
	if err := b.SetRow(TableRequests, shardRows, answersKey(entry), row); err != nil {
		return fmt.Errorf("keep answers: %w", err)
	}
	return nil
}

func dropAnswers(b Batch, entry uint64) error {
	if err := b.DeleteRow(TableRequests, shardRows, answersKey(entry)); err != nil {
		return fmt.Errorf("forget answers: %w", err)
	}
	return nil
}

// groupsOf is the answers in a row by namespace: shardRows for those of which it is
// not known.
func groupsOf(row *internalv1.RequestAnswers) []*internalv1.NamespaceAnswers {
	if len(row.GetAnswers()) > 0 {
		return []*internalv1.NamespaceAnswers{{NamespaceId: uint64(shardRows), Answers: row.GetAnswers()}}
	}
	return row.GetNamespaces()
}

// answerBytes is about what an answer takes in a row.
func answerBytes(a *internalv1.RequestAnswer) int { return 32 + len(a.GetResponse()) }

// cutAnswers appends a row to dst without the answers that are forgotten. firstOf
// tells the place of the first one to keep of a namespace's. They are not decoded: a
// row is cut while other commands wait.
func cutAnswers(dst, row []byte, firstOf func(tenancy.NamespaceID) (first uint64, ok bool)) ([]byte, error) {
	for len(row) > 0 {
		number, field, value, err := nextField(row)
		if err != nil {
			return nil, err
		}
		row = row[len(field):]
		if number != fieldNamespaces {
			dst = append(dst, field...)
			continue
		}
		group, n := protowire.ConsumeBytes(value)
		if n < 0 {
			return nil, fmt.Errorf("decode kept answers: %w", protowire.ParseError(n))
		}
		if dst, err = cutGroup(dst, field, group, firstOf); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// cutGroup does that for an encoded NamespaceAnswers; field is with the tag before it.
func cutGroup(dst, field, group []byte, firstOf func(tenancy.NamespaceID) (uint64, bool)) ([]byte, error) {
	var ns tenancy.NamespaceID
	var before uint64
	for len(group) > 0 {
		number, next, value, err := nextField(group)
		if err != nil {
			return nil, err
		}
		if number >= fieldAnswers {
			break
		}
		if n, _ := protowire.ConsumeVarint(value); number == fieldNamespaceID {
			ns = tenancy.NamespaceID(n)
		} else {
			before = n
		}
		group = group[len(next):]
	}
	first, ok := firstOf(ns)
	switch {
	case !ok:
		return dst, nil
	case first <= before:
		return append(dst, field...), nil
	}
	for range first - before {
		_, next, _, err := nextField(group)
		if err != nil {
			return nil, err
		}
		group = group[len(next):]
	}
	size := protowire.SizeTag(fieldNamespaceID) + protowire.SizeVarint(uint64(ns)) +
		protowire.SizeTag(fieldFirst) + protowire.SizeVarint(first) + len(group)
	dst = protowire.AppendVarint(protowire.AppendTag(dst, fieldNamespaces, protowire.BytesType), uint64(size))
	dst = protowire.AppendVarint(protowire.AppendTag(dst, fieldNamespaceID, protowire.VarintType), uint64(ns))
	dst = protowire.AppendVarint(protowire.AppendTag(dst, fieldFirst, protowire.VarintType), first)
	return append(dst, group...), nil
}

// nextField is the first field of an encoded message: whole, and without its tag.
func nextField(message []byte) (number protowire.Number, field, value []byte, err error) {
	number, kind, tag := protowire.ConsumeTag(message)
	if tag < 0 {
		return 0, nil, nil, fmt.Errorf("decode kept answers: %w", protowire.ParseError(tag))
	}
	n := protowire.ConsumeFieldValue(number, kind, message[tag:])
	if n < 0 {
		return 0, nil, nil, fmt.Errorf("decode kept answers: %w", protowire.ParseError(n))
	}
	return number, message[:tag+n], message[tag : tag+n], nil
}

// load reads the index from the rows.
func (r *requestIndex) load(rows Rows) error {
	forgotten := make(map[tenancy.NamespaceID]forgottenAnswers)
	it := rows.Rows(TableRequests, shardRows, nil, nil)
	for it.Next() {
		entry := binary.BigEndian.Uint64(it.Key())
		value, err := it.Value()
		if err != nil {
			return errJoinClose(it, fmt.Errorf("load kept answers: %w", err))
		}
		var row internalv1.RequestAnswers
		if err := proto.Unmarshal(value, &row); err != nil {
			return errJoinClose(it, fmt.Errorf("decode kept answers: %w", err))
		}
		for _, group := range row.GetNamespaces() {
			if err := loadForgotten(rows, forgotten, tenancy.NamespaceID(group.GetNamespaceId())); err != nil {
				return errJoinClose(it, err)
			}
		}
		r.admit(entry, &row, forgotten)
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("load kept answers: %w", err)
	}
	return nil
}

// loadForgotten reads which answers a namespace has forgotten.
func loadForgotten(rows Rows, forgotten map[tenancy.NamespaceID]forgottenAnswers, ns tenancy.NamespaceID) error {
	if _, known := forgotten[ns]; known {
		return nil
	}
	var state internalv1.NamespaceState
	value, _, err := rows.Row(TableState, ns, nil)
	if err == nil {
		err = proto.Unmarshal(value, &state)
	}
	if err != nil {
		return fmt.Errorf("load which answers are forgotten: %w", err)
	}
	forgotten[ns] = forgottenAnswers{state.GetAnswersForgottenIndex(), state.GetAnswersForgotten()}
	return nil
}
