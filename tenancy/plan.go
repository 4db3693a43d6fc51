package tenancy

import (
	"fmt"
	"strings"
)

// The names of the plans.
const (
	PlanFree      = "free"
	PlanStandard  = "standard"
	PlanUnlimited = "unlimited"
)

// PlanDefault is the plan of a tenant that is created without one.
const PlanDefault = PlanStandard

// PlanLimits are the limits of a plan, with the defaults filled in. It returns a
// *PlanNotFoundError if there is none of this name; an empty name is
// PlanUnlimited, which tenants have from before there were plans.
func PlanLimits(plan string) (Limits, error) {
	switch plan {
	case PlanFree:
		return Limits{
			NamespacesMax: 10, LeasesMax: 10_000, WatchesMax: 1_000, WatchStreamsMax: 100, ConnectionsMax: 100,
			RequestsPerSecond: 100, RequestsBurst: 500, BytesPerSecond: 1 << 20, BytesBurst: 8 << 20,
			StoredBytesMax: 64 << 20, KeysMax: 100_000, MessagesMax: 10_000,
		}.WithDefaults(), nil
	case PlanStandard:
		return Limits{
			NamespacesMax: 1_000, LeasesMax: 100_000, WatchesMax: 20_000, WatchStreamsMax: 2_000, ConnectionsMax: 2_000,
			RequestsPerSecond: 5_000, RequestsBurst: 10_000, BytesPerSecond: 16 << 20, BytesBurst: 64 << 20,
			StoredBytesMax: 2 << 30, KeysMax: 5_000_000, MessagesMax: 1_000_000,
		}.WithDefaults(), nil
	case PlanUnlimited, "":
		return Limits{}.WithDefaults(), nil
	}
	return Limits{}, &PlanNotFoundError{Plan: plan}
}

// PlanNotFoundError says that there is no plan of this name.
type PlanNotFoundError struct {
	// Plan is the name.
	Plan string
}

// Error quotes no more of the name than a valid one could have.
func (e *PlanNotFoundError) Error() string {
	plan := e.Plan[:min(len(e.Plan), NameBytesMax)]
	return fmt.Sprintf("there is no plan %q: it takes %s", plan, strings.Join([]string{PlanFree, PlanStandard, PlanUnlimited}, ", "))
}
