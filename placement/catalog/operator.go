package catalog

import (
	"context"
	"fmt"
	"time"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// operatorsMax bounds the operators.
const operatorsMax = 1000

// Role is what an operator may do; a greater one may do more.
type Role = adminv1.OperatorRole

// The roles of operators.
const (
	RoleViewer   = adminv1.OperatorRole_OPERATOR_ROLE_VIEWER
	RoleOperator = adminv1.OperatorRole_OPERATOR_ROLE_OPERATOR
	RoleOwner    = adminv1.OperatorRole_OPERATOR_ROLE_OWNER
)

// Operator is the credential of an operator. It is shared, and not to be changed.
type Operator struct {
	Name        string
	SecretHash  []byte
	Role        Role
	Description string
	CreateTime  time.Time
	// Expire is when it ends; zero if it does not.
	Expire time.Time
}

// owns tells whether it is an owner's for as long as nobody ends it.
func (o *Operator) owns() bool { return o.Role == RoleOwner && o.Expire.IsZero() }

func operatorOf(name string, r *internalv1.OperatorRecord) *Operator {
	return &Operator{
		Name: name, SecretHash: r.GetSecretHash(), Role: r.GetRole(), Description: r.GetDescription(),
		CreateTime: timeOf(r.GetCreateTimeMs()), Expire: timeOf(r.GetExpireTimeMs()),
	}
}

// Operator finds the credential of an operator, mostly without leaving memory. It
// returns tenancy.ErrUnauthenticated if there is none of this name. Whether it has
// expired is the caller's question.
func (c *Catalog) Operator(ctx context.Context, name string) (*Operator, error) {
	key := operatorKey(name)
	value, err := c.lookUp(ctx, key, func(ctx context.Context) (any, error) {
		r, err := read(ctx, c, key, &internalv1.OperatorRecord{})
		if err != nil || !r.exists() {
			return nil, err
		}
		return operatorOf(name, r.message), nil
	})
	if err != nil {
		return nil, err
	}
	found, ok := value.(*Operator)
	if !ok {
		return nil, tenancy.ErrUnauthenticated
	}
	return found, nil
}

// CreateOperator stores a new operator's credential. It returns an
// *tenancy.InvalidNameError, *tenancy.AlreadyExistsError or *tenancy.QuotaError.
func (c *Catalog) CreateOperator(ctx context.Context, o Operator) (Operator, error) {
	if err := tenancy.ValidateName("operator", o.Name); err != nil {
		return o, err
	}
	o.CreateTime = c.now()
	err := retryConflicts(ctx, func() error {
		list, revision, err := c.operators(ctx)
		if err != nil {
			return err
		}
		if len(list) >= operatorsMax {
			return &tenancy.QuotaError{Limit: "operators", Value: operatorsMax}
		}
		for _, other := range list {
			if other.Name == o.Name {
				return &tenancy.AlreadyExistsError{What: "operator", Name: o.Name}
			}
		}
		record := &internalv1.OperatorRecord{
			SecretHash: o.SecretHash, Role: o.Role, Description: o.Description, CreateTimeMs: uint64(o.CreateTime.UnixMilli()),
		}
		detail := fmt.Sprintf("operator created with the role %s", RoleName(o.Role))
		if !o.Expire.IsZero() {
			record.ExpireTimeMs = uint64(o.Expire.UnixMilli())
			detail += ", ends " + o.Expire.UTC().Format(time.RFC3339)
		}
		var t change
		t.replace(operatorsKey, revision, nil)
		t.expect(operatorKey(o.Name), 0)
		t.put(operatorKey(o.Name), record)
		c.audit(ctx, &t, "", o.Name, detail)
		return c.commit(ctx, &t)
	})
	return o, err
}

// ListOperators lists the operators by name.
func (c *Catalog) ListOperators(ctx context.Context) ([]*Operator, error) {
	list, _, err := c.operators(ctx)
	return list, err
}

// operators lists the operators by name. A change of them that is made dependent on
// the revision conflicts with every other, so that the last owner stays.
func (c *Catalog) operators(ctx context.Context) (list []*Operator, revision uint64, err error) {
	lock, err := query[*flotillav1.GetResponse](ctx, c, &flotillav1.GetRequest{Key: []byte(operatorsKey)})
	if err != nil {
		return nil, 0, fmt.Errorf("read operators from the catalog: %w", err)
	}
	_, err = c.list(ctx, span{prefix: operatorsPrefix}, func(name string, kv *flotillav1.KeyValue) error {
		r, err := decode("operator", kv.GetValue(), &internalv1.OperatorRecord{})
		list = append(list, operatorOf(name, r))
		return err
	})
	return list, lock.GetKv().GetModRevision(), err
}

// DeleteOperator ends an operator's credential. It returns ErrOperatorNotFound, or
// ErrLastOwner.
func (c *Catalog) DeleteOperator(ctx context.Context, name string) error {
	return retryConflicts(ctx, func() error {
		list, revision, err := c.operators(ctx)
		if err != nil {
			return err
		}
		var found *Operator
		owners := 0
		for _, o := range list {
			if o.Name == name {
				found = o
			} else if o.owns() {
				owners++
			}
		}
		switch {
		case found == nil:
			return ErrOperatorNotFound
		case found.owns() && owners == 0:
			return ErrLastOwner
		}
		var t change
		t.replace(operatorsKey, revision, nil)
		t.remove(operatorKey(name))
		c.audit(ctx, &t, "", name, "operator deleted")
		return c.commit(ctx, &t)
	})
}

// RoleName is a role's name, such as "viewer".
func RoleName(role Role) string {
	switch role {
	case RoleViewer:
		return "viewer"
	case RoleOperator:
		return "operator"
	case RoleOwner:
		return "owner"
	default:
		return "none"
	}
}
