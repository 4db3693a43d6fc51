package machine

import (
	"container/list"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// namespacesCachedMax bounds the counters that a machine keeps in memory: about
// 200 bytes each. A namespace at rest falls out and costs its row alone.
const namespacesCachedMax = 4096

// WrongEpochError refuses a command whose route is old: the namespace moved.
type WrongEpochError struct {
	// Epoch is the one that this shard knows.
	Epoch uint64
}

func (e *WrongEpochError) Error() string {
	return fmt.Sprintf("the namespace is at epoch %d here: the route is old", e.Epoch)
}

// Refusal marks the error as a refusal.
func (e *WrongEpochError) Refusal() {}

// namespace is the counters of one namespace in memory.
type namespace struct {
	id        tenancy.NamespaceID
	epoch     uint64
	ageBucket uint64
	leases    uint64 // number of them
	state     mvcc.State
	// byteMS and accountedMS are those of internal.v1.NamespaceState.
	byteMS, accountedMS uint64
	// forgotten is which of its kept answers are.
	forgotten forgottenAnswers
	// drop is how far its removal has come; nil if it was not dropped. Then all else
	// but the epoch and forgotten is as if it never was.
	drop *internalv1.NamespaceDrop
	// told is whether those who watch it were told that.
	told bool
	// written is the revision that is stored, or put into the batch.
	written mvcc.Revision
	dirty   bool
	lru     *list.Element
}

// claim checks a command's epoch. The first command of an epoch makes it
// known: the catalog gives a namespace to one shard at a time.
func (n *namespace) claim(epoch uint64) error {
	if epoch < n.epoch {
		return &WrongEpochError{Epoch: n.epoch}
	}
	n.epoch = epoch
	return nil
}

// DecodeNamespaceState decodes a namespace's row for those who read the stored
// state: a namespace without a row is mvcc.NewState(), and one that was dropped is
// refused with a *WrongEpochError.
func DecodeNamespaceState(row []byte) (mvcc.State, error) {
	var rec internalv1.NamespaceState
	if err := proto.Unmarshal(row, &rec); err != nil {
		return mvcc.State{}, fmt.Errorf("decode a namespace's state: %w", err)
	}
	if rec.GetDrop() != nil {
		return mvcc.State{}, &WrongEpochError{Epoch: rec.GetEpoch()}
	}
	return StateOf(&rec), nil
}

// StateOf is the counters that a record has.
func StateOf(rec *internalv1.NamespaceState) mvcc.State {
	return mvcc.State{
		Revision:        mvcc.Revision(rec.GetRevision()),
		CompactRevision: mvcc.Revision(rec.GetCompactRevision()),
		PurgedRevision:  mvcc.Revision(rec.GetPurgedRevision()),
		Keys:            rec.GetKeys(),
		LiveBytes:       rec.GetLiveBytes(),
	}
}

// StateProto is a record of counters, with nothing else in it.
func StateProto(state mvcc.State) *internalv1.NamespaceState {
	return &internalv1.NamespaceState{
		Revision:        uint64(state.Revision),
		CompactRevision: uint64(state.CompactRevision),
		PurgedRevision:  uint64(state.PurgedRevision),
		Keys:            state.Keys,
		LiveBytes:       state.LiveBytes,
	}
}

func (n *namespace) record() *internalv1.NamespaceState {
	if n.drop != nil {
		return &internalv1.NamespaceState{Epoch: n.epoch, Drop: n.drop, AnswersForgottenIndex: n.forgotten.entry, AnswersForgotten: n.forgotten.upTo}
	}
	rec := StateProto(n.state)
	rec.Epoch, rec.AgeBucket, rec.Leases = n.epoch, n.ageBucket, n.leases
	rec.ByteMs, rec.AccountedMs = n.byteMS, n.accountedMS
	rec.AnswersForgottenIndex, rec.AnswersForgotten = n.forgotten.entry, n.forgotten.upTo
	return rec
}

// namespaceCache holds the counters of the namespaces used last. Dirty ones
// stay until they are flushed into the batch.
type namespaceCache struct {
	max   int
	byID  map[tenancy.NamespaceID]*namespace
	used  *list.List // of *namespace, the last used in front
	dirty []*namespace
}

func newNamespaceCache(max int) *namespaceCache {
	return &namespaceCache{max: max, byID: make(map[tenancy.NamespaceID]*namespace), used: list.New()}
}

// get returns a namespace's counters, from its row if need be.
func (c *namespaceCache) get(rows Rows, id tenancy.NamespaceID) (*namespace, error) {
	if ns, ok := c.byID[id]; ok {
		c.used.MoveToFront(ns.lru)
		return ns, nil
	}
	row, ok, err := rows.Row(TableState, id, nil)
	if err != nil {
		return nil, fmt.Errorf("load a namespace's state: %w", err)
	}
	ns := &namespace{id: id, state: mvcc.NewState()}
	if ok {
		var rec internalv1.NamespaceState
		if err := proto.Unmarshal(row, &rec); err != nil {
			return nil, fmt.Errorf("decode a namespace's state: %w", err)
		}
		ns.epoch, ns.drop, ns.told = rec.GetEpoch(), rec.GetDrop(), rec.GetDrop() != nil
		ns.forgotten = forgottenAnswers{rec.GetAnswersForgottenIndex(), rec.GetAnswersForgotten()}
		if ns.drop == nil {
			ns.ageBucket, ns.leases, ns.state = rec.GetAgeBucket(), rec.GetLeases(), StateOf(&rec)
			ns.byteMS, ns.accountedMS = rec.GetByteMs(), rec.GetAccountedMs()
		}
	}
	ns.written = ns.state.Revision
	ns.lru = c.used.PushFront(ns)
	c.byID[id] = ns
	return ns, nil
}

// touch marks a namespace's counters as changed.
func (c *namespaceCache) touch(ns *namespace) {
	if !ns.dirty {
		ns.dirty = true
		c.dirty = append(c.dirty, ns)
	}
}

// flush writes the changed counters, in the order of their ids (R4 needs no
// order, but an ordered batch is the same on every run), then lets the cache
// shrink to its bound.
func (c *namespaceCache) flush(b Batch, changes []Change) ([]Change, error) {
	slices.SortFunc(c.dirty, func(a, b *namespace) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	for _, ns := range c.dirty {
		row, err := proto.Marshal(ns.record())
		if err != nil {
			return nil, fmt.Errorf("encode a namespace's state: %w", err)
		}
		if err := b.SetRow(TableState, ns.id, nil, row); err != nil {
			return nil, fmt.Errorf("store a namespace's state: %w", err)
		}
		ns.dirty = false
		if ns.drop != nil && !ns.told {
			changes = append(changes, Change{Namespace: ns.id, Dropped: true})
			ns.told = true
		}
		if ns.state.Revision != ns.written {
			changes = append(changes, Change{Namespace: ns.id, Revision: ns.state.Revision})
			ns.written = ns.state.Revision
		}
	}
	clear(c.dirty)
	c.dirty = c.dirty[:0]
	for len(c.byID) > c.max {
		if ns, ok := c.used.Remove(c.used.Back()).(*namespace); ok {
			delete(c.byID, ns.id)
		}
	}
	return changes, nil
}
