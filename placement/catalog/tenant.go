package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// TenantState is what becomes of a tenant.
type TenantState = internalv1.TenantState

// The states of a tenant. The credentials of one that is not active are refused.
const (
	TenantActive    = internalv1.TenantState_TENANT_STATE_ACTIVE
	TenantSuspended = internalv1.TenantState_TENANT_STATE_SUSPENDED
	TenantDeleting  = internalv1.TenantState_TENANT_STATE_DELETING
)

// GraceMax is the longest time for which a deleted tenant can be resumed.
const GraceMax = 90 * 24 * time.Hour

// WeightMax is the greatest weight of a tenant.
const WeightMax = 100

// Tenant is a tenant's record. It is shared, and not to be changed.
type Tenant struct {
	ID          tenancy.TenantID
	Description string
	CreateTime  time.Time
	State       TenantState
	// PurgeTime is when the data is removed; zero unless it is being deleted.
	PurgeTime time.Time
	Plan      string
	// Own are the limits that are not the plan's, each that is not 0; nil if there
	// are none.
	Own *flotillav1.Limits
	// Limits are those that hold.
	Limits tenancy.Limits
	// Weight is its share of a busy shard, as a multiple of others': 1 or more.
	Weight     int
	Namespaces uint64
	APIKeys    uint64
}

func tenantOf(id tenancy.TenantID, r *internalv1.TenantRecord) (*Tenant, error) {
	plan, err := tenancy.PlanLimits(r.GetPlan())
	if err != nil {
		return nil, err // of a newer version
	}
	t := &Tenant{
		ID: id, Description: r.GetDescription(), CreateTime: time.UnixMilli(int64(r.GetCreateTimeMs())),
		State: cmp.Or(r.GetState(), TenantActive), Plan: cmp.Or(r.GetPlan(), tenancy.PlanUnlimited),
		Own: r.GetLimits(), Limits: plan.Override(r.GetLimits()).WithDefaults(), Weight: int(max(r.GetWeight(), 1)),
		Namespaces: r.GetNamespaces(), APIKeys: r.GetApiKeys(),
	}
	if ms := r.GetPurgeTimeMs(); ms != 0 {
		t.PurgeTime = time.UnixMilli(int64(ms))
	}
	return t, nil
}

// Tenant finds a tenant, mostly without leaving memory. It returns
// tenancy.ErrTenantNotFound if there is none of this name.
func (c *Catalog) Tenant(ctx context.Context, id tenancy.TenantID) (*Tenant, error) {
	key := tenantKey(id)
	value, err := c.lookUp(ctx, key, func(ctx context.Context) (any, error) {
		r, err := read(ctx, c, key, &internalv1.TenantRecord{})
		if err != nil || !r.exists() {
			return nil, err
		}
		return tenantOf(id, r.message)
	})
	if err != nil {
		return nil, err
	}
	found, ok := value.(*Tenant)
	if !ok {
		return nil, tenancy.ErrTenantNotFound
	}
	return found, nil
}

// ListTenants lists tenants by name, at most limit of them after the name after, and
// whether there are more.
func (c *Catalog) ListTenants(ctx context.Context, after tenancy.TenantID, limit uint64) (list []*Tenant, more bool, err error) {
	part := span{prefix: tenantsPrefix, after: string(after), limit: limit}
	more, err = c.list(ctx, part, func(name string, kv *flotillav1.KeyValue) error {
		r, err := decode("tenant", kv.GetValue(), &internalv1.TenantRecord{})
		if err != nil {
			return err
		}
		t, err := tenantOf(tenancy.TenantID(name), r)
		list = append(list, t)
		return err
	})
	return list, more, err
}

// alter changes a tenant's record, and notes it in the audit log. The function
// returns what it has changed, or refuses. If it leaves the record as it is nothing is
// written, and nothing noted.
func (c *Catalog) alter(ctx context.Context, id tenancy.TenantID, how func(*internalv1.TenantRecord, *change) (detail string, err error)) (*Tenant, error) {
	var after *Tenant
	err := retryConflicts(ctx, func() error {
		r, err := read(ctx, c, tenantKey(id), &internalv1.TenantRecord{})
		if err != nil {
			return err
		}
		if !r.exists() {
			return tenancy.ErrTenantNotFound
		}
		var t change
		r.message.State = cmp.Or(r.message.GetState(), TenantActive)
		before := proto.CloneOf(r.message)
		detail, err := how(r.message, &t)
		if err != nil {
			return err
		}
		if after, err = tenantOf(id, r.message); err != nil || proto.Equal(before, r.message) {
			return err
		}
		t.replace(tenantKey(id), r.revision, r.message)
		c.audit(ctx, &t, id, string(id), detail)
		return c.commit(ctx, &t)
	})
	return after, err
}

// TenantLimits is what to change of a tenant's limits; what is nil stays.
type TenantLimits struct {
	Plan *string
	// Own are all limits that are not the plan's.
	Own    *flotillav1.Limits
	Weight *uint32
}

// SetTenantLimits changes what a tenant may do. It returns the tenant as it is then,
// or tenancy.ErrTenantNotFound or a *tenancy.PlanNotFoundError.
func (c *Catalog) SetTenantLimits(ctx context.Context, id tenancy.TenantID, set TenantLimits) (*Tenant, error) {
	if set.Plan != nil {
		if _, err := tenancy.PlanLimits(*set.Plan); err != nil {
			return nil, err
		}
	}
	return c.alter(ctx, id, func(r *internalv1.TenantRecord, _ *change) (string, error) {
		if set.Plan != nil {
			r.Plan = *set.Plan
		}
		if set.Own != nil {
			r.Limits = set.Own
		}
		if set.Weight != nil {
			r.Weight = *set.Weight
		}
		return fmt.Sprintf("plan %s, own limits {%s}, weight %d",
			cmp.Or(r.GetPlan(), tenancy.PlanUnlimited), limitsText(r.GetLimits()), max(r.GetWeight(), 1)), nil
	})
}

// SuspendTenant has a tenant's credentials refused. It returns
// tenancy.ErrTenantNotFound, or a *tenancy.WrongStateError if the tenant is being
// deleted. One that is suspended stays so.
func (c *Catalog) SuspendTenant(ctx context.Context, id tenancy.TenantID) (*Tenant, error) {
	return c.alter(ctx, id, func(r *internalv1.TenantRecord, _ *change) (string, error) {
		if r.GetState() == TenantDeleting {
			return "", wrongState(id, r)
		}
		r.State = TenantSuspended
		return "suspended", nil
	})
}

// ResumeTenant lets a tenant in again, also one that is being deleted while it still
// has its data. It returns tenancy.ErrTenantNotFound, or a *tenancy.WrongStateError
// once its data is being removed.
func (c *Catalog) ResumeTenant(ctx context.Context, id tenancy.TenantID) (*Tenant, error) {
	return c.alter(ctx, id, func(r *internalv1.TenantRecord, t *change) (string, error) {
		if due := r.GetPurgeTimeMs(); due != 0 {
			if uint64(c.now().UnixMilli()) >= due {
				return "", &tenancy.WrongStateError{What: fmt.Sprintf("the tenant %q", id), State: "being removed: its grace period is over"}
			}
			t.remove(dueKey(due, id))
		}
		r.State, r.PurgeTimeMs = TenantActive, 0
		return "resumed", nil
	})
}

// DeleteTenant suspends a tenant until its grace period is over, and then has its
// data removed. It returns tenancy.ErrTenantNotFound, or a *tenancy.WrongStateError
// if it is being deleted already.
func (c *Catalog) DeleteTenant(ctx context.Context, id tenancy.TenantID, grace time.Duration) (*Tenant, error) {
	return c.alter(ctx, id, func(r *internalv1.TenantRecord, t *change) (string, error) {
		if r.GetState() == TenantDeleting {
			return "", wrongState(id, r)
		}
		due := c.now().Add(grace)
		r.State, r.PurgeTimeMs = TenantDeleting, uint64(due.UnixMilli())
		t.put(dueKey(r.GetPurgeTimeMs(), id), nil)
		return "deleted; its data is removed after " + due.UTC().Format(time.RFC3339), nil
	})
}

func wrongState(id tenancy.TenantID, r *internalv1.TenantRecord) error {
	state := "active"
	if r.GetState() == TenantDeleting {
		state = "being deleted"
	} else if r.GetState() == TenantSuspended {
		state = "suspended"
	}
	return &tenancy.WrongStateError{What: fmt.Sprintf("the tenant %q", id), State: state}
}

// CreateTenant creates a tenant of the plan "unlimited" without namespaces or keys,
// for a node that is started with one. It returns a *tenancy.AlreadyExistsError if
// there is one of this name.
func (c *Catalog) CreateTenant(ctx context.Context, id tenancy.TenantID) error {
	if err := tenancy.ValidateTenant(id); err != nil {
		return err
	}
	var t change
	t.expect(tenantKey(id), 0)
	t.put(tenantKey(id), &internalv1.TenantRecord{CreateTimeMs: uint64(c.now().UnixMilli()), Plan: tenancy.PlanUnlimited})
	c.audit(ctx, &t, id, string(id), "created with the plan "+tenancy.PlanUnlimited)
	err := c.commit(ctx, &t)
	if errors.Is(err, ErrConflict) {
		return &tenancy.AlreadyExistsError{What: "tenant", Name: string(id)}
	}
	return err
}
