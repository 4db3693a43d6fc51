package mvcc

// State is the counters of a namespace. Its owner loads and stores it; a
// refused request leaves it as it was.
//
// Invariants: 1 <= Revision, and PurgedRevision <= CompactRevision <= Revision.
type State struct {
	// Revision is the revision of the last write, 1 in an empty namespace.
	Revision Revision
	// CompactRevision is the oldest readable revision, 0 while nothing was
	// compacted.
	CompactRevision Revision
	// PurgedRevision tells how far purging came: see Purge.
	PurgedRevision Revision
	// Keys is the number of keys.
	Keys uint64
	// LiveBytes is the bytes of the keys and of their newest values.
	LiveBytes uint64
}

// NewState is the state of a namespace that was never written.
func NewState() State { return State{Revision: 1} }

// readable resolves the revision that a request names, 0 for the newest, and
// refuses one that is compacted or in the future.
func (st *State) readable(requested uint64, newest Revision) (Revision, error) {
	at := Revision(requested)
	switch {
	case at == NoRevision:
		return newest, nil
	case at > st.Revision:
		return 0, &FutureRevisionError{Revision: st.Revision}
	case at < st.CompactRevision:
		return 0, &CompactedError{CompactRevision: st.CompactRevision}
	}
	return at, nil
}

// counters is a change of a State's Keys and LiveBytes.
type counters struct {
	keys  int64
	bytes int64
}

// created counts a key that did not exist.
func (c *counters) created(key []byte, valueBytes int) {
	c.keys++
	c.bytes += int64(len(key) + valueBytes)
}

// removed counts a key that exists no more.
func (c *counters) removed(key []byte, valueBytes int) {
	c.keys--
	c.bytes -= int64(len(key) + valueBytes)
}

// add counts another change.
func (c *counters) add(other counters) {
	c.keys += other.keys
	c.bytes += other.bytes
}

// apply moves the state to revision. The additions wrap around as they should
// for negative changes.
func (c counters) apply(st *State, revision Revision) {
	st.Revision = revision
	st.Keys += uint64(c.keys)
	st.LiveBytes += uint64(c.bytes)
}
