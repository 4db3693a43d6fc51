package etcd

import (
	"strings"

	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// A token is what Authenticate gives for a user name and password:
//
//	flk_<id>_<secret>@<namespace>
//
// It is nothing but the API key and the namespace, so every node accepts it,
// none keeps it, and it ends with the key. An API key alone is a token too, for
// the namespace "default", and so is what AuthService.ExchangeToken or an issuer of
// the tenant has given out.
type token struct {
	credential string
	namespace  string
}

const tokenSeparator = "@"

// formatToken makes a token from the text of an API key.
func formatToken(key, namespace string) string { return key + tokenSeparator + namespace }

// parseToken reads a token. The error wraps tenancy.ErrUnauthenticated.
func parseToken(text string) (token, error) {
	credential, namespace, ok := strings.Cut(text, tokenSeparator)
	if !ok {
		namespace = tenancy.DefaultNamespace
	}
	if err := tenancy.ValidateName("namespace", namespace); err != nil {
		return token{}, auth.ErrMalformed
	}
	return token{credential: credential, namespace: namespace}, nil
}
