package auth

import (
	"fmt"
	"strings"

	"github.com/flotillakv/flotilla/tenancy"
)

// ErrNoCredential says that a request has no Authorization header. It wraps
// tenancy.ErrUnauthenticated.
var ErrNoCredential = fmt.Errorf("%w: no Authorization header", tenancy.ErrUnauthenticated)

// Bearer is the credential in the value of an Authorization header: "Bearer" in any
// case, one space, the credential. The error wraps tenancy.ErrUnauthenticated.
func Bearer(header string) (string, error) {
	if header == "" {
		return "", ErrNoCredential
	}
	scheme, credential, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", ErrMalformed
	}
	return credential, nil
}
