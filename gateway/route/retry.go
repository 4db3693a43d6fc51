package route

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// isUnknown tells that a command may have been applied.
func isUnknown(err error) bool { return errors.Is(err, shards.ErrOutcomeUnknown) }

// notApplied tells that an attempt surely changed nothing and that another one may
// do better: elsewhere, or a little later.
func notApplied(err error) bool {
	if isUnknown(err) {
		return false
	}
	if _, ok := errors.AsType[*shards.NotLeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*shards.UnreachableError](err); ok {
		return true
	}
	return errors.Is(err, shards.ErrShardNotFound) || errors.Is(err, shards.ErrStopping)
}

// conclude is what a caller is told whose last attempt ended with err, after one
// whose outcome is unknown, if it is not nil: that one may have been applied,
// whatever kept the last one from it. Only the state's own answer says more: it
// would have been another one.
func conclude(err, unknown error) error {
	if unknown == nil || err == nil || mvcc.IsRefusal(err) {
		return err
	}
	return unknown
}

// repeatable tells that applying a command twice is the same as once: those with a
// request id, whose answers are kept, renewals of leases, and what is dropped.
func repeatable(command *internalv1.Command) bool {
	switch op := command.GetOperation().(type) {
	case *internalv1.Command_Put:
		return op.Put.GetRequestId() != ""
	case *internalv1.Command_Delete:
		return op.Delete.GetRequestId() != ""
	case *internalv1.Command_Txn:
		return op.Txn.GetRequestId() != ""
	case *internalv1.Command_Compact:
		return op.Compact.GetRequestId() != ""
	case *internalv1.Command_GrantLease:
		return op.GrantLease.GetRequest().GetRequestId() != ""
	case *internalv1.Command_RevokeLease:
		return op.RevokeLease.GetRequestId() != ""
	case *internalv1.Command_KeepAlive, *internalv1.Command_DropNamespaceSlice:
		return true
	default:
		return false
	}
}

// The pauses between attempts, which double.
const (
	pauseMin = 5 * time.Millisecond
	pauseMax = 200 * time.Millisecond
	// followMax is how many attempts may go to other nodes at once, before there is
	// a pause after all: nodes may name each other.
	followMax = 3
)

// A pacer spreads the attempts of one request. The zero value is at its beginning.
type pacer struct {
	last     time.Duration
	followed int
}

// next is how long to wait before the next attempt: not at all to follow a hint.
func (p *pacer) next(follow bool) time.Duration {
	if follow && p.followed < followMax {
		p.followed++
		return 0
	}
	p.followed = 0
	p.last = min(max(2*p.last, pauseMin), pauseMax)
	return p.last/2 + rand.N(p.last) //nolint:gosec // spreads load, guards nothing
}

// pause waits before the next attempt. It returns false if there is no time for
// one.
func (p *pacer) pause(ctx context.Context, follow bool) bool {
	wait := p.next(follow)
	if deadline, ok := ctx.Deadline(); ctx.Err() != nil || ok && time.Until(deadline) <= wait {
		return false
	}
	if wait == 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
