package model

import "fmt"

// Kind is why a request is refused.
type Kind string

// The kinds of refusal.
const (
	Invalid           Kind = "invalid"
	DuplicateKey      Kind = "duplicate key"
	KeyNotFound       Kind = "key not found"
	KeyExists         Kind = "key exists"
	RevisionMismatch  Kind = "revision mismatch"
	Compacted         Kind = "compacted"
	Future            Kind = "in the future"
	LeaseNotFound     Kind = "lease not found"
	LeaseExists       Kind = "lease exists"
	FencingTokenStale Kind = "fencing token stale"
	KeysQuota         Kind = "too many keys"
	BytesQuota        Kind = "too many bytes"
)

// RefusalError is the error of a refused request.
type RefusalError struct {
	// Kind is why.
	Kind Kind
	// Revision is the key's mod_revision, the compact revision, or the
	// namespace's revision, for the kinds that tell one.
	Revision uint64
}

func (r *RefusalError) Error() string { return fmt.Sprintf("%s (%d)", r.Kind, r.Revision) }
