package shards

import (
	"sync/atomic"
	"time"

	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// A Call is one command on its way through a shard. It is submitted once.
type Call struct {
	// Tenant is in whose line the call waits.
	Tenant tenancy.TenantID
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

func (c *Call) take() bool { return c.state.CompareAndSwap(callWaiting, callTaken) }

func (c *Call) fail(err error) { c.Done(machine.Result{Err: err}) }

// callOverheadBytes is what a call costs in line besides its command, so that
// many small commands count too.
const callOverheadBytes = 128

func (c *Call) cost() int { return len(c.Command) + callOverheadBytes }
