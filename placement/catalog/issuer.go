package catalog

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// issuersMax bounds the issuers of a tenant.
	issuersMax = 16
	// issuersBytesMax bounds the record of them, in bytes: it is written whole, and
	// nodes keep it in memory.
	issuersBytesMax = 512 << 10
)

// Issuers are the issuers whose tokens a tenant lets in, by name, as of a revision
// of the catalog. They are shared, and not to be changed.
type Issuers struct {
	List     []*flotillav1.Issuer
	Revision uint64
}

// Issuers finds the issuers of a tenant, mostly without leaving memory; a tenant
// that does not exist has none.
func (c *Catalog) Issuers(ctx context.Context, tenant tenancy.TenantID) (*Issuers, error) {
	key := issuersKey(tenant)
	value, err := c.lookUp(ctx, key, func(ctx context.Context) (any, error) {
		r, err := read(ctx, c, key, &internalv1.IssuersRecord{})
		return &Issuers{List: r.message.GetIssuers(), Revision: r.revision}, err
	})
	if err != nil {
		return nil, err
	}
	found, _ := value.(*Issuers)
	return found, nil
}

// SetIssuer sets an issuer, in the place of the one of its name if there is one. It
// returns tenancy.ErrTenantNotFound, a *tenancy.QuotaError, or what
// tenancy.ParsePermissions does.
func (c *Catalog) SetIssuer(ctx context.Context, tenant tenancy.TenantID, issuer *flotillav1.Issuer) error {
	detail, err := describeIssuer(issuer)
	if err != nil {
		return err
	}
	return c.alterIssuers(ctx, tenant, issuer.GetName(), "issuer set: "+detail, func(list []*flotillav1.Issuer) ([]*flotillav1.Issuer, error) {
		list = slices.DeleteFunc(list, func(i *flotillav1.Issuer) bool { return i.GetName() == issuer.GetName() })
		if len(list) >= issuersMax {
			return nil, &tenancy.QuotaError{Limit: "issuers", Value: issuersMax}
		}
		list = append(list, proto.CloneOf(issuer))
		slices.SortFunc(list, func(a, b *flotillav1.Issuer) int { return strings.Compare(a.GetName(), b.GetName()) })
		return list, nil
	})
}

// DeleteIssuer takes an issuer away. It returns tenancy.ErrTenantNotFound or
// ErrIssuerNotFound.
func (c *Catalog) DeleteIssuer(ctx context.Context, tenant tenancy.TenantID, name string) error {
	return c.alterIssuers(ctx, tenant, name, "issuer deleted", func(list []*flotillav1.Issuer) ([]*flotillav1.Issuer, error) {
		kept := slices.DeleteFunc(slices.Clone(list), func(i *flotillav1.Issuer) bool { return i.GetName() == name })
		if len(kept) == len(list) {
			return nil, ErrIssuerNotFound
		}
		return kept, nil
	})
}

// alterIssuers changes a tenant's issuers, and notes it in the audit log. If the
// function leaves them as they are nothing is written, and nothing noted.
func (c *Catalog) alterIssuers(ctx context.Context, tenant tenancy.TenantID, name, detail string, how func([]*flotillav1.Issuer) ([]*flotillav1.Issuer, error)) error {
	return retryConflicts(ctx, func() error {
		owner, err := read(ctx, c, tenantKey(tenant), &internalv1.TenantRecord{})
		if err != nil {
			return err
		}
		if !owner.exists() {
			return tenancy.ErrTenantNotFound
		}
		r, err := read(ctx, c, issuersKey(tenant), &internalv1.IssuersRecord{})
		if err != nil {
			return err
		}
		before := proto.CloneOf(r.message)
		if r.message.Issuers, err = how(r.message.GetIssuers()); err != nil || proto.Equal(before, r.message) {
			return err
		}
		if proto.Size(r.message) > issuersBytesMax {
			return &tenancy.QuotaError{Limit: "bytes of all issuers", Value: issuersBytesMax}
		}
		var t change
		t.expect(tenantKey(tenant), owner.revision) // it is not being removed
		t.replace(issuersKey(tenant), r.revision, r.message)
		c.audit(ctx, &t, tenant, name, detail)
		return c.commit(ctx, &t)
	})
}
