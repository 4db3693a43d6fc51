package catalog

import (
	"errors"

	"github.com/flotillakv/flotilla/tenancy"
)

var (
	// ErrOperatorNotFound says that there is no operator of this name.
	ErrOperatorNotFound = errors.New("there is no operator of this name")
	// ErrNoOperator says that a call of the operators' port has no operator's
	// credential, or one that is malformed, unknown, expired or deleted.
	ErrNoOperator = errors.New("the operator's credential is missing or not valid")
	// ErrLastOwner refuses to end the last credential of an owner: nobody could make
	// another.
	ErrLastOwner = errors.New("it is the last credential of an owner")
	// ErrIssuerNotFound says that the tenant has no issuer of this name.
	ErrIssuerNotFound = errors.New("the tenant has no issuer of this name")
)

// RoleError is a tenancy.ErrPermissionDenied: the operator's role does not suffice.
type RoleError struct {
	// Least is the least role that does.
	Least Role
}

func (e *RoleError) Error() string {
	return "the operator's role does not allow this, which takes the role " + RoleName(e.Least)
}

func (*RoleError) Unwrap() error { return tenancy.ErrPermissionDenied }
