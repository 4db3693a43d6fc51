package peer

import (
	"github.com/flotillakv/flotilla/shards/fair"
	"github.com/flotillakv/flotilla/tenancy"
)

// flight is what a node is asked on one session and has not answered: operations, and
// the bytes of their requests, by tenant.
//
//	L1: an operation counts from when it is taken off its line until it is over,
//	    whether it was written or not. Its tenant's line is aside while its next
//	    operation does not fit; so nobody waits for what another tenant is not
//	    answered.
//	L2: for each operation that is over its tenant's line is resumed, and of those
//	    that are aside the first one, which may fit by now. So a line that is aside
//	    never waits for nothing: while one is, something counts or a line is not.
//
// It is guarded by the link's mu.
type flight struct {
	operations, bytes *fair.Room[tenancy.TenantID]
}

func newFlight(cfg *PoolConfig) *flight {
	return &flight{
		operations: fair.NewRoom(cfg.InFlightMax, tenancy.SystemTenant),
		bytes:      fair.NewRoom(cfg.InFlightBytesMax, tenancy.SystemTenant),
	}
}

// begin counts an operation, unless it does not fit.
func (f *flight) begin(op *operation) bool {
	if !f.operations.Fits(op.tenant, op.count()) || !f.bytes.Fits(op.tenant, op.bytes) {
		return false
	}
	f.operations.Take(op.tenant, op.count())
	f.bytes.Take(op.tenant, op.bytes)
	op.flight = f
	return true
}

// end counts an operation no more.
func (f *flight) end(op *operation) {
	f.operations.GiveBack(op.tenant, op.count())
	f.bytes.GiveBack(op.tenant, op.bytes)
}

// landed counts operations no more that were taken off their lines. They are answered,
// or will surely not be.
func (l *link) landed(ops []*operation) {
	if len(ops) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, op := range ops {
		op.flight.end(op)
		l.queue.Resume(op.tenant)
		l.queue.ResumeFirst()
	}
	if l.queue.Ready() {
		l.changed.Signal()
	}
}

// forsake lets go of the session, if there is one, and begins to count anew for the
// next one. It needs mu.
func (l *link) forsake() *session {
	s := l.session
	if s != nil {
		l.session, l.flight = nil, newFlight(l.cfg)
		l.resumeAll()
	}
	return s
}

// resumeAll needs mu.
func (l *link) resumeAll() {
	for l.queue.ResumeFirst() {
	}
}
