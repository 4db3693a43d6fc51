package shards

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// A Call is one command on its way through a shard. It is submitted once.
type Call struct {
	// Tenant is in whose line the call waits.
	Tenant tenancy.TenantID
	// Weight is the tenant's share of a busy shard, as a multiple of others', at most
	// fair.WeightMax; 0 is the one that its line has.
	Weight int
	// Command is the encoded internal.v1.Command.
	Command []byte
	// Deadline is until when the call may wait in line; after it the call is
	// refused with context.DeadlineExceeded, and was not applied. Zero is the
	// proposal timeout from now.
	Deadline time.Time
	// FreesSpace lets the call through when the node's disk is nearly full.
	FreesSpace bool
	// Done is called exactly once with the result, unless Cancel returned
	// true. It runs on a goroutine that others wait for: it must not block.
	// Its error may be a refusal or one of this package's.
	Done func(machine.Result)

	state atomic.Uint32
}

// The states of a call: it leaves callWaiting once.
const (
	callWaiting uint32 = iota
	callTaken          // in an entry: Done will be called
	callCanceled
)

// Cancel takes a call out of its line. It returns false if the call is on its
// way already: Done is or will be called, and the command may be applied.
func (c *Call) Cancel() bool { return c.state.CompareAndSwap(callWaiting, callCanceled) }

// Take takes a call out of its line to bring it on its way. It returns false if
// the call was canceled: Done must not be called then. It is for those who hold
// lines of calls.
func (c *Call) Take() bool { return c.state.CompareAndSwap(callWaiting, callTaken) }

// Fail answers a call with an error.
func (c *Call) Fail(err error) { c.Done(machine.Result{Err: err}) }

// callOverheadBytes is what a call costs in line besides its command, so that
// many small commands count too.
const callOverheadBytes = 128

// Cost is what the call takes in its tenant's line, in bytes.
func (c *Call) Cost() int { return len(c.Command) + callOverheadBytes }

// Await submits a command as a call and waits for its answer. When ctx ends while
// the call is in line it was not applied; when it ends later the error is
// ErrOutcomeUnknown. The deadline of ctx is the call's.
func Await(ctx context.Context, tenant tenancy.TenantID, command *internalv1.Command, submit func(*Call) error) (proto.Message, error) {
	encoded, err := proto.Marshal(command)
	if err != nil {
		return nil, fmt.Errorf("encode a command: %w", err)
	}
	answered := make(chan machine.Result, 1)
	call := &Call{
		Tenant: tenant, Command: encoded, FreesSpace: freesSpace(command),
		Done: func(r machine.Result) { answered <- r },
	}
	if deadline, ok := ctx.Deadline(); ok {
		call.Deadline = deadline
	}
	if err := submit(call); err != nil {
		return nil, err
	}
	select {
	case r := <-answered:
		return r.Response, r.Err
	case <-ctx.Done():
		if call.Cancel() {
			return nil, fmt.Errorf("wait in line: %w", ctx.Err())
		}
		return nil, fmt.Errorf("wait for the answer: %w", ErrOutcomeUnknown)
	}
}

// freesSpace tells which commands are let in on a full disk. Those that renew
// and end leases write what was there before, or remove it; without them all
// leases of the node's tenants would end, or none. The rest of maintenance waits
// for a level to be raised.
func freesSpace(c *internalv1.Command) bool {
	switch c.GetOperation().(type) {
	case *internalv1.Command_Compact, *internalv1.Command_CompactAged, *internalv1.Command_PurgeSlice,
		*internalv1.Command_KeepAlive, *internalv1.Command_RevokeLease, *internalv1.Command_ExpireLeases,
		*internalv1.Command_DropNamespaceSlice, *internalv1.Command_RaiseLevel:
		return true
	default:
		return false
	}
}
