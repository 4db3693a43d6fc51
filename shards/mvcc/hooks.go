package mvcc

import flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"

// Hooks is what a write needs from outside of the key space: how much may be held,
// who holds which lock, and which leases there are.
type Hooks interface {
	// Quota is how much the namespace may hold.
	Quota() Quota
	// CheckFence refuses with ErrFencingTokenStale when the lock is not held
	// under the fencing token.
	CheckFence(f *flotillav1.Fence) error
	// CheckLease refuses with ErrLeaseNotFound when there is no such lease.
	CheckLease(id int64) error
	// MoveLease notes that a key's lease has changed; 0 is none. It is called
	// while the write is being stored, so its error is a failure of storage.
	// It must not keep key.
	MoveLease(key []byte, from, to int64) error
}

// checkFence refuses a request whose fence, if it has one, is stale.
func checkFence(h Hooks, f *flotillav1.Fence) error {
	if f == nil {
		return nil
	}
	return h.CheckFence(f)
}

// checkPrecondition refuses a write to a key unless all that p asks for holds.
func checkPrecondition(p *flotillav1.Precondition, cur current) error {
	switch {
	case p == nil:
		return nil
	case p.GetMustExist() && !cur.exists:
		return ErrKeyNotFound
	case p.GetMustNotExist() && cur.exists:
		return ErrKeyExists
	case p.ModRevision != nil && p.GetModRevision() != uint64(cur.mod):
		return &RevisionMismatchError{Actual: cur.mod}
	}
	return nil
}
