package flotilla

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// Hold begins a lease and keeps it alive until it is revoked or released, or
// the client is closed. All leases that a client holds share one stream.
//
//	lease, err := ns.Leases.Hold(ctx, 15*time.Second, nil)
//	if err != nil {
//		return err
//	}
//	defer lease.Revoke(context.WithoutCancel(ctx))
//	ns.KV.Put(ctx, "workers/7", address, &flotilla.PutOptions{Lease: lease.ID()})
//	select {
//	case <-lease.Lost():
//		return lease.Err() // stop acting as the owner
//	...
func (l *Leases) Hold(ctx context.Context, ttl time.Duration, opts *GrantOptions) (*Lease, error) {
	asked := time.Now()
	granted, err := l.Grant(ctx, ttl, opts)
	if err != nil {
		return nil, err
	}
	return l.hold(granted.ID, granted.TTL, asked)
}

// Resume keeps a lease alive that is there already, as Hold does: after a
// program has started again, say. It returns ErrLeaseNotFound if there is none.
func (l *Leases) Resume(ctx context.Context, id int64) (*Lease, error) {
	asked := time.Now()
	ttls, err := l.KeepAlive(ctx, id)
	if err != nil {
		return nil, err
	}
	if ttls[0] == 0 {
		return nil, leaseLost(id, "does not exist or has expired", nil)
	}
	return l.hold(id, ttls[0], asked)
}

func (l *Leases) hold(id int64, ttl time.Duration, asked time.Time) (*Lease, error) {
	lease := &Lease{leases: l, id: id, ttl: ttl, lost: make(chan struct{})}
	return lease, l.client.keeper.add(lease, asked)
}

// A Lease is held: it is kept alive by itself. Safe for concurrent use.
type Lease struct {
	leases *Leases
	id     int64
	ttl    time.Duration
	lost   chan struct{}

	mu      sync.Mutex
	ended   bool
	err     error
	cancels []*context.CancelCauseFunc

	// The rest belongs to the keeper.
	keeping keeping
}

// ID is the lease's id, as PutOptions.Lease takes it.
func (l *Lease) ID() int64 { return l.id }

// TTL is how long the lease lasts without being kept alive.
func (l *Lease) TTL() time.Duration { return l.ttl }

// Lost is closed when the lease is not held any more: the server said that it
// has ended, or it could not be renewed for its TTL, or the program gave it up.
// From then on others may own what it stood for.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Err is why the lease is not held any more: nil while it is, and after Revoke
// or Release. It is ErrLeaseNotFound if the lease was lost.
func (l *Lease) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Context returns a context that ends when the lease is lost, with Err as its
// cause. The function must be called, as that of context.WithCancel.
func (l *Lease) Context(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		cancel(l.err)
		return ctx, func() {}
	}
	l.cancels = append(l.cancels, &cancel)
	return ctx, func() {
		l.mu.Lock()
		l.cancels = slices.DeleteFunc(l.cancels, func(other *context.CancelCauseFunc) bool { return other == &cancel })
		l.mu.Unlock()
		cancel(nil)
	}
}

// Revoke ends the lease and deletes its keys. It is kept alive no longer also if
// that fails. It returns ErrLeaseNotFound if the lease has ended by itself.
func (l *Lease) Revoke(ctx context.Context) error {
	l.Release()
	_, err := l.leases.Revoke(ctx, l.id)
	return err
}

// Release keeps the lease alive no longer; it ends after its TTL, unless
// another program resumes it.
func (l *Lease) Release() {
	l.leases.client.keeper.remove(l)
	l.end(nil)
}

// end tells whoever waits that the lease is not held any more. The first
// reason stays.
func (l *Lease) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended, l.err = true, err
	close(l.lost)
	for _, cancel := range l.cancels {
		(*cancel)(err)
	}
	l.cancels = nil
}

// leaseLost is the client's own: a lease that is not held any more.
func leaseLost(id int64, why string, cause error) error {
	message := fmt.Sprintf("the lease %d %s", id, why)
	if cause != nil {
		message += fmt.Sprintf(": %v", cause)
	}
	return &Error{
		Code: connect.CodeNotFound, Reason: flotillav1.Reason_REASON_LEASE_NOT_FOUND, Message: message, cause: cause,
	}
}
