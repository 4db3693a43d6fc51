package mvcc

import "github.com/flotillakv/flotilla/tenancy"

// Quota is how much a namespace may hold; 0 is no bound. A write that would pass a
// bound is refused, unless it leaves no more of what is bounded than there was: so
// a bound may be set below what is held, and what lessens it goes on.
type Quota struct {
	// KeysMax is the number of keys.
	KeysMax uint64
	// StoredBytesMax is the bytes of the keys and of their newest values.
	StoredBytesMax uint64
}

// check refuses a change with a *tenancy.QuotaError.
func (q Quota) check(st *State, change counters) error {
	if exceeds(q.KeysMax, st.Keys, change.keys) {
		return &tenancy.QuotaError{Limit: "keys_max", Value: q.KeysMax}
	}
	if exceeds(q.StoredBytesMax, st.LiveBytes, change.bytes) {
		return &tenancy.QuotaError{Limit: "stored_bytes_max", Value: q.StoredBytesMax}
	}
	return nil
}

// exceeds says whether a change leads beyond a bound, or further beyond it.
func exceeds(bound, held uint64, change int64) bool {
	return bound > 0 && change > 0 && held+uint64(change) > bound
}
