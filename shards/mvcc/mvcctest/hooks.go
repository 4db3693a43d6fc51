package mvcctest

import (
	"fmt"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// Hooks is an mvcc.Hooks that knows leases and locks from maps, and notes which
// key is attached to which lease.
type Hooks struct {
	// Leases are those that exist.
	Leases map[int64]bool
	// Tokens are the holders' fencing tokens, by lock.
	Tokens map[string]uint64
	// Attached is the lease of each key that has one.
	Attached map[string]int64
	// Bounds is how much may be held.
	Bounds mvcc.Quota
	// Err, when set, is what MoveLease returns.
	Err error
}

// NewHooks returns hooks that know the leases given, and no lock.
func NewHooks(leases ...int64) *Hooks {
	h := &Hooks{Leases: map[int64]bool{}, Tokens: map[string]uint64{}, Attached: map[string]int64{}}
	for _, id := range leases {
		h.Leases[id] = true
	}
	return h
}

// Quota implements mvcc.Hooks.
func (h *Hooks) Quota() mvcc.Quota { return h.Bounds }

// CheckFence implements mvcc.Hooks.
func (h *Hooks) CheckFence(f *flotillav1.Fence) error {
	if token, held := h.Tokens[f.GetLock()]; !held || token != f.GetToken() {
		return mvcc.ErrFencingTokenStale
	}
	return nil
}

// CheckLease implements mvcc.Hooks.
func (h *Hooks) CheckLease(id int64) error {
	if !h.Leases[id] {
		return mvcc.ErrLeaseNotFound
	}
	return nil
}

// MoveLease implements mvcc.Hooks. It fails when the key is not attached to the
// lease that it is said to leave, or does not leave it.
func (h *Hooks) MoveLease(key []byte, from, to int64) error {
	if h.Err != nil {
		return h.Err
	}
	if attached := h.Attached[string(key)]; attached != from || from == to {
		return fmt.Errorf("key %q moves from lease %d to %d while attached to %d", key, from, to, attached)
	}
	if to == 0 {
		delete(h.Attached, string(key))
		return nil
	}
	h.Attached[string(key)] = to
	return nil
}
