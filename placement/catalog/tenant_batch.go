package catalog

import (
	"cmp"
	"context"
	"errors"

	"google.golang.org/protobuf/encoding/prototext"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// TenantsCreatedMax bounds the tenants of one CreateTenants.
const TenantsCreatedMax = 500

// tenantsOfChangeMax is how many tenants one transaction creates: each takes up to
// six of its operations.
const tenantsOfChangeMax = 100

// NewTenant is a tenant to create.
type NewTenant struct {
	ID          tenancy.TenantID
	Description string
	// Plan is its plan; empty is tenancy.PlanDefault.
	Plan string
	// Own are the limits that are not the plan's.
	Own *flotillav1.Limits
	// Weight is its share of a busy shard; 0 is 1.
	Weight uint32
	// Namespace is a first namespace; empty for none.
	Namespace string
	// Key is a first API key, with ID and SecretHash; nil for none.
	Key *APIKey
}

// CreatedTenant is what became of a NewTenant: the tenant, or why there is none.
type CreatedTenant struct {
	Tenant *Tenant
	Err    error
}

// CreateTenants creates tenants, each by itself: what is wrong with one does not
// keep the others. An error of one is a *tenancy.InvalidNameError,
// *tenancy.PlanNotFoundError or *tenancy.AlreadyExistsError, ErrNoShard, or what
// kept the catalog from being changed.
func (c *Catalog) CreateTenants(ctx context.Context, list []NewTenant) []CreatedTenant {
	results := make([]CreatedTenant, len(list))
	var left []int
	seen := make(map[tenancy.TenantID]bool, len(list))
	for i, one := range list {
		if results[i].Err = one.check(); results[i].Err == nil && seen[one.ID] {
			results[i].Err = &tenancy.AlreadyExistsError{What: "tenant", Name: string(one.ID)}
		}
		if results[i].Err == nil {
			left = append(left, i)
		}
		seen[one.ID] = true
	}
	c.placing.Lock()
	defer c.placing.Unlock()
	for len(left) > 0 {
		part := left[:min(len(left), tenantsOfChangeMax)]
		left = left[len(part):]
		c.createPart(ctx, list, part, results)
	}
	return results
}

func (n *NewTenant) check() error {
	if err := tenancy.ValidateTenant(n.ID); err != nil {
		return err
	}
	if n.Namespace != "" {
		if err := tenancy.ValidateName("namespace", n.Namespace); err != nil {
			return err
		}
	}
	_, err := tenancy.PlanLimits(n.plan())
	return err
}

func (n *NewTenant) plan() string { return cmp.Or(n.Plan, tenancy.PlanDefault) }

// createPart creates some of the tenants in one transaction. Those that exist are
// looked for only if the transaction met something: mostly there are none.
func (c *Catalog) createPart(ctx context.Context, list []NewTenant, part []int, results []CreatedTenant) {
	fail := func(err error) {
		for _, i := range part {
			if results[i].Tenant == nil && results[i].Err == nil {
				results[i].Err = err
			}
		}
	}
	err := retryConflicts(ctx, func() error {
		err := c.createOnce(ctx, list, part, results)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		var fresh []int
		for _, i := range part {
			r, readErr := read(ctx, c, tenantKey(list[i].ID), &internalv1.TenantRecord{})
			switch {
			case readErr != nil:
				return readErr
			case r.exists():
				results[i].Err = &tenancy.AlreadyExistsError{What: "tenant", Name: string(list[i].ID)}
			default:
				fresh = append(fresh, i)
			}
		}
		if part = fresh; len(part) == 0 {
			return nil
		}
		return err
	})
	if err != nil {
		fail(err)
	}
}

func (c *Catalog) createOnce(ctx context.Context, list []NewTenant, part []int, results []CreatedTenant) error {
	placer, err := c.newPlacer(ctx)
	if err != nil {
		return err
	}
	var t change
	now := c.now()
	made := make([]*Tenant, len(part))
	for n, i := range part {
		one := &list[i]
		record := &internalv1.TenantRecord{
			CreateTimeMs: uint64(now.UnixMilli()), Plan: one.plan(), Limits: one.Own, Weight: one.Weight, Description: one.Description,
		}
		t.expect(tenantKey(one.ID), 0)
		if one.Namespace != "" {
			if err := placer.place(&t, one.ID, one.Namespace, now); err != nil {
				return err
			}
			record.Namespaces = 1
		}
		if one.Key != nil {
			key := *one.Key
			key.Tenant, key.CreateTime = one.ID, now
			putAPIKey(&t, &key)
			record.ApiKeys = 1
		}
		t.put(tenantKey(one.ID), record)
		c.audit(ctx, &t, one.ID, string(one.ID), "created with the plan "+one.plan())
		if made[n], err = tenantOf(one.ID, record); err != nil {
			return err
		}
	}
	placer.finish(&t)
	if err := c.commit(ctx, &t); err != nil {
		return err
	}
	for n, i := range part {
		results[i].Tenant = made[n]
	}
	return nil
}

// limitsText is limits as the audit log tells them.
func limitsText(l *flotillav1.Limits) string {
	return prototext.MarshalOptions{}.Format(l)
}
