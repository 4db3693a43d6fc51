package catalog

import (
	"context"
	"errors"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/tenancy"
)

// CreateTenant creates a tenant without namespaces or keys. It returns a
// *tenancy.AlreadyExistsError if there is one of this name.
func (c *Catalog) CreateTenant(ctx context.Context, id tenancy.TenantID) error {
	if err := tenancy.ValidateName("tenant", string(id)); err != nil {
		return err
	}
	var t change
	t.expect(tenantKey(id), 0)
	t.put(tenantKey(id), &internalv1.TenantRecord{CreateTimeMs: uint64(c.now().UnixMilli())})
	err := c.commit(ctx, &t)
	if errors.Is(err, ErrConflict) {
		return &tenancy.AlreadyExistsError{What: "tenant", Name: string(id)}
	}
	return err
}
