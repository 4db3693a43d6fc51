package meter

import (
	"context"
	"strconv"
	"sync/atomic"

	"github.com/flotillakv/flotilla/tenancy"
)

// The headers in which unary calls are told their cost.
const (
	ReadUnitsHeader  = "Flotilla-Read-Units"
	WriteUnitsHeader = "Flotilla-Write-Units"
)

// A Call is a caller's request that may take several operations: it counts as one,
// and all that comes after the first is let in.
type Call struct {
	admitted              atomic.Bool
	readUnits, writeUnits atomic.Uint64
}

type callKey struct{}

// WithCall returns a context whose operations belong to one call; that of ctx, if it
// has one.
func WithCall(ctx context.Context) (context.Context, *Call) {
	if call := callFrom(ctx); call != nil {
		return ctx, call
	}
	call := &Call{}
	return context.WithValue(ctx, callKey{}, call), call
}

// Within returns a context whose operations belong to a request that was admitted
// already.
func Within(ctx context.Context) context.Context {
	ctx, call := WithCall(ctx)
	call.admitted.Store(true)
	return ctx
}

func callFrom(ctx context.Context) *Call {
	call, _ := ctx.Value(callKey{}).(*Call)
	return call
}

// Units tells the cost of the call until now as text.
func (c *Call) Units() (read, write string) {
	return strconv.FormatUint(c.readUnits.Load(), 10), strconv.FormatUint(c.writeUnits.Load(), 10)
}

// An Operation was let in, and is to be answered. The zero value is of a request
// that is not counted.
type Operation struct {
	tenant *Tenant
	call   *Call
}

// Answered counts what the operation has cost.
func (o Operation) Answered(cost Cost) {
	o.tenant.Answered(cost)
	if o.call != nil {
		o.call.readUnits.Add(cost.ReadUnits)
		o.call.writeUnits.Add(cost.WriteUnits)
	}
}

// Tenant is the tenant's tenant; nil if nothing is counted.
func (o Operation) Tenant() *Tenant { return o.tenant }

// Admit lets requests of a principal in that bring so many bytes, or refuses them:
// with a *tenancy.QuotaError, or a *shards.BusyError. Within a Call only the first
// counts.
func (m *Meter) Admit(ctx context.Context, p *tenancy.Principal, requests, bytes int) (Operation, error) {
	if m == nil {
		return Operation{}, nil
	}
	call := callFrom(ctx)
	if call == nil {
		return m.AdmitEach(ctx, p, requests, bytes)
	}
	t, err := m.Tenant(p)
	if err != nil {
		return Operation{}, err
	}
	if call.admitted.Load() {
		t.brought(bytes)
		return Operation{t, call}, nil
	}
	if err := t.Admit(requests, bytes); err != nil {
		return Operation{}, err
	}
	call.admitted.Store(true)
	return Operation{t, call}, nil
}

// AdmitEach is Admit for operations that count also if they come in one call.
func (m *Meter) AdmitEach(ctx context.Context, p *tenancy.Principal, requests, bytes int) (Operation, error) {
	t, err := m.Tenant(p)
	if err != nil {
		return Operation{}, err
	}
	if err := t.Admit(requests, bytes); err != nil {
		return Operation{}, err
	}
	return Operation{t, callFrom(ctx)}, nil
}

// Pace waits until a principal's tenant owes no bytes, before it is given more of an
// answer that has several parts.
func (m *Meter) Pace(ctx context.Context, p *tenancy.Principal) error {
	t, err := m.Tenant(p)
	if err != nil {
		return err
	}
	return t.pace(ctx)
}
