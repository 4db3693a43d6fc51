package shards

import "github.com/flotillakv/flotilla/tenancy"

// HoldTurn takes a tenant's turn to read at length, until end is called.
func (h *Host) HoldTurn(tenant tenancy.TenantID) (end func(), ok bool) {
	return func() { h.turns.end(tenant) }, h.turns.try(tenant)
}

// LongReadsWaiting is how many reads wait for a turn.
func (h *Host) LongReadsWaiting() int {
	_, waiting := h.turns.count()
	return waiting
}
