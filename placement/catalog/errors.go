package catalog

import "errors"

var (
	// ErrOperatorNotFound says that there is no operator of this name.
	ErrOperatorNotFound = errors.New("there is no operator of this name")
	// ErrLastOwner refuses to end the last credential of an owner: nobody could make
	// another.
	ErrLastOwner = errors.New("it is the last credential of an owner")
	// ErrIssuerNotFound says that the tenant has no issuer of this name.
	ErrIssuerNotFound = errors.New("the tenant has no issuer of this name")
)
