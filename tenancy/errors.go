package tenancy

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrUnauthenticated says that no credential was sent, or one that is
	// malformed, unknown, expired or revoked. Which of these is not told.
	ErrUnauthenticated = errors.New("the credential is missing or not valid")
	// ErrIssuerUnreachable says that the keys of a token's issuer are not to be had
	// now, so that the token was not looked at. Its sender is not told: it is told
	// ErrUnauthenticated.
	ErrIssuerUnreachable = errors.New("the keys of the token's issuer cannot be fetched")
	// ErrPermissionDenied says that the credential does not allow this.
	ErrPermissionDenied = errors.New("the credential does not allow this")
	// ErrTenantNotFound says that the tenant does not exist.
	ErrTenantNotFound = errors.New("the tenant does not exist")
	// ErrTenantSuspended says that the tenant is suspended or being deleted, so that
	// its credentials are not let in.
	ErrTenantSuspended = errors.New("the tenant is suspended or being deleted")
	// ErrNamespaceNotFound says that the tenant has no such namespace.
	ErrNamespaceNotFound = errors.New("the namespace does not exist")
)

// AlreadyExistsError says that a record of this name is there already.
type AlreadyExistsError struct {
	// What is the kind of record, such as "namespace".
	What string
	// Name is its name.
	Name string
}

func (e *AlreadyExistsError) Error() string {
	return fmt.Sprintf("the %s %q exists already", e.What, e.Name)
}

// LimitFailedLogins is the limit of what fails to log in, by credential and address.
const LimitFailedLogins = "failed_logins_per_minute"

// QuotaError says that a limit is reached, mostly one of the tenant.
type QuotaError struct {
	// Limit is the limit's name, such as "namespaces_max".
	Limit string
	// Value is the limit.
	Value uint64
	// RetryAfter is when to try again at the earliest; 0 when waiting alone
	// does not help.
	RetryAfter time.Duration
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("the limit %s of %d is reached", e.Limit, e.Value)
}

// Refusal marks the error as an answer: every replica refuses alike, and
// nothing was changed.
func (*QuotaError) Refusal() {}

// TooLargeError says that a request is larger than a limit of the tenant.
type TooLargeError struct {
	// Limit is the limit's name, such as "request_bytes_max".
	Limit string
	// Value is the size of the request.
	Value uint64
	// Max is the limit.
	Max uint64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%d is more than the limit %s of %d", e.Value, e.Limit, e.Max)
}

// InvalidNameError says that something cannot have this name. See ValidateName.
type InvalidNameError struct {
	// What is whose name it is, such as "namespace".
	What string
	// Name is the name.
	Name string
}

// Error quotes no more of the name than a valid one could have.
func (e *InvalidNameError) Error() string {
	name := e.Name
	if len(name) > NameBytesMax {
		name = name[:NameBytesMax] + "..."
	}
	article := "a"
	if strings.ContainsAny(e.What[:min(len(e.What), 1)], "aeiouA") {
		article = "an"
	}
	return fmt.Sprintf("%q cannot be the name of %s %s: it takes 1 to %d of a-z, 0-9 and '-', with no '-' at its ends",
		name, article, e.What, NameBytesMax)
}

// WrongStateError says that a record is not in a state that allows what was asked.
type WrongStateError struct {
	// What is the kind of record and its name, such as `the tenant "acme"`.
	What string
	// State is how it is, such as "active".
	State string
}

func (e *WrongStateError) Error() string { return fmt.Sprintf("%s is %s", e.What, e.State) }
