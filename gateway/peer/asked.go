package peer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/intercept"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// shortReadersMax is how many groups of look-ups of one shard are read at the
	// same time for one stream: what comes meanwhile goes together. longReadersMax
	// is the same for other queries, which go alone, of one tenant: while long reads
	// wait for its turn, nobody else waits for them.
	shortReadersMax = 2
	longReadersMax  = 8
	// currentMax is how long a replica may take to become current: a caller is
	// better off with another one then.
	currentMax = time.Second
)

// readKey is what queries must have in common to share a state.
type readKey struct {
	shard       shards.ShardID
	consistency shards.Consistency
	tenant      tenancy.TenantID // of what may take long; empty for look-ups
}

// asked is the queries of one operation. Once they were given to a reader it
// alone uses them.
type asked struct {
	id       uint64
	tenant   tenancy.TenantID
	deadline time.Time
	queries  []shards.Query
	refused  []error // why a query cannot be asked; nil if all can
	left     int     // how many have no answer
	bytes    int     // of the operation
	// answered is the bytes of the answers, and answerBytesMax from when on no
	// more are read.
	answered, answerBytesMax int
}

// ask has queries read: look-ups of keys with others of their shard, and what may
// take longer by itself.
func (x *exchange) ask(op *internalv1.PeerOperation, deadline time.Time) {
	queries := op.GetQueries().GetQueries()
	x.metrics.queries.Add(float64(len(queries)))
	a := &asked{
		id: op.GetId(), tenant: tenancy.TenantID(op.GetTenant()), deadline: deadline, queries: make([]shards.Query, len(queries)), left: max(1, len(queries)),
		bytes: proto.Size(op), answerBytesMax: int(min(op.GetQueries().GetAnswerBytesMax(), groupAnswerBytes)),
	}
	x.answers.begin(a.left, a.bytes)
	if len(queries) == 0 || len(queries) > groupQueriesMax {
		x.metrics.malformed.Inc()
		x.failed(a, &mvcc.InvalidError{Field: "queries", Message: "are none, or too many"})
		return
	}
	gathers, key := x.short, readKey{shard: shards.ShardID(op.GetShardId())}
	for i, q := range queries {
		var err error
		if a.queries[i], err = decodeQuery(q); err != nil {
			x.metrics.malformed.Inc()
			if a.refused == nil {
				a.refused = make([]error, len(queries))
			}
			a.refused[i] = err
		}
		if _, ok := q.GetRequest().(*internalv1.PeerQuery_Get); !ok {
			gathers, key.tenant = x.long, a.tenant
		}
	}
	if op.GetQueries().GetSerializable() {
		key.consistency = shards.Serializable
	}
	gathers.Add(key, func(list []*asked) { x.read(key, list) }, a)
}

// failed answers those queries of an operation that have no answer with an error.
func (x *exchange) failed(a *asked, err error) {
	failed := encodeError(err)
	if failed.GetKind() == internalv1.PeerErrorKind_PEER_ERROR_KIND_UNSPECIFIED {
		x.cfg.Log.Error("queries of another node failed", "err", err)
	}
	x.answers.add(&internalv1.PeerAnswer{Id: a.id, Answer: &internalv1.PeerAnswer_Failed{Failed: failed}}, a.left, a.bytes)
	a.left = 0
}

// errUnread stands for the answer to a query that was not read.
var errUnread = errors.New("not read")

// answer answers one query.
func (x *exchange) answer(a *asked, i int, response proto.Message, err error) {
	message := &internalv1.PeerAnswer{Id: a.id, Query: uint32(i)}
	if errors.Is(err, errUnread) {
		message.Answer = &internalv1.PeerAnswer_Unread{Unread: true}
	} else {
		encodeAnswer(message, response, err)
	}
	freed := 0
	if a.left--; a.left == 0 {
		freed = a.bytes
	}
	a.answered += x.answers.add(message, 1, freed)
}

// place is one query of several operations.
type place struct {
	asked *asked
	query int
}

// read answers the queries of several operations from one state.
func (x *exchange) read(key readKey, list []*asked) {
	err := x.readTogether(key, list)
	for _, a := range list {
		if a.left > 0 {
			x.failed(a, err)
		}
	}
}

func (x *exchange) readTogether(key readKey, list []*asked) (err error) {
	defer intercept.Recovered(&err)
	var latest time.Time
	var places []place
	for _, a := range list {
		if a.deadline.After(latest) {
			latest = a.deadline
		}
		for i := range a.queries {
			if a.refused != nil && a.refused[i] != nil {
				x.answer(a, i, nil, a.refused[i])
				continue
			}
			places = append(places, place{a, i})
		}
	}
	if len(places) == 0 {
		return nil
	}
	slices.SortFunc(places, place.compare)
	ctx, cancel := context.WithDeadline(x.ctx, latest)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	tooLate := func() { giveUp(&shards.NotLeaderError{Shard: key.shard}) }
	late := time.AfterFunc(currentMax, tooLate)
	defer late.Stop()
	batch := shards.QueryBatch{
		Tenant:      list[0].tenant, // of what may take long there is only one
		Consistency: key.consistency, Queries: make([]shards.Query, len(places)),
		Begin: func(ctx context.Context) (func(), error) {
			if !late.Stop() {
				tooLate() // the timer is about to, or has
				return nil, context.Cause(ctx)
			}
			return func() {}, nil
		},
		Room: func(_ context.Context, i int) error { return x.room(places[i].asked) },
		Emit: func(i int, response proto.Message, err error) {
			x.answer(places[i].asked, places[i].query, response, err)
		},
	}
	for i, p := range places {
		batch.Queries[i] = p.asked.queries[p.query]
	}
	return x.cfg.Local.QueryBatch(ctx, key.shard, &batch)
}

// room tells whether one more query of an operation may be read, and waits for
// those to be sent that were. The first one always may, so that all are some time.
func (x *exchange) room(a *asked) error {
	switch {
	case a.answered > 0 && a.answered >= a.answerBytesMax:
		return errUnread
	case time.Now().After(a.deadline):
		return context.DeadlineExceeded
	default:
		return x.answers.sendable()
	}
}

// compare orders queries by the keys that they look up.
func (p place) compare(q place) int {
	one, other := &p.asked.queries[p.query], &q.asked.queries[q.query]
	if c := cmp.Compare(one.Namespace, other.Namespace); c != 0 {
		return c
	}
	return bytes.Compare(keyOf(one), keyOf(other))
}

func keyOf(q *shards.Query) []byte {
	if get, ok := q.Request.(*flotillav1.GetRequest); ok {
		return get.GetKey()
	}
	return nil
}
