package intercept

import (
	"context"
	"net/http"
	"strings"

	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// User is what a user name says, on the etcd port and in certificates: who, and of
// which namespace.
type User struct {
	Tenant    tenancy.TenantID // empty if it does not say
	Namespace string
	KeyID     string // empty if it does not say
}

// ParseUser reads a user name:
//
//	<key id>                        the key's tenant, namespace "default"
//	<tenant>/<namespace>            the password is a whole API key
//	<tenant>/<namespace>/<key id>
//
// Its error is tenancy.ErrUnauthenticated.
func ParseUser(name string) (User, error) {
	parts := strings.Split(name, "/")
	u := User{Namespace: tenancy.DefaultNamespace}
	switch len(parts) {
	case 1:
		u.KeyID = parts[0]
	case 2:
		u.Tenant, u.Namespace = tenancy.TenantID(parts[0]), parts[1]
	case 3:
		u.Tenant, u.Namespace, u.KeyID = tenancy.TenantID(parts[0]), parts[1], parts[2]
	default:
		return User{}, tenancy.ErrUnauthenticated
	}
	if u.KeyID != "" && !auth.ValidID(u.KeyID) || len(parts) != 2 && u.KeyID == "" {
		return User{}, tenancy.ErrUnauthenticated
	}
	if err := tenancy.ValidateName("namespace", u.Namespace); err != nil {
		return User{}, tenancy.ErrUnauthenticated
	}
	return u, nil
}

type commonNameKey struct{}

// KeepCertificate lets the layers see the certificate that a caller has shown.
func KeepCertificate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := CommonName(r); name != "" {
			r = r.WithContext(context.WithValue(r.Context(), commonNameKey{}, name))
		}
		next.ServeHTTP(w, r)
	})
}

// CommonName is that of the certificate that a caller has shown and an authority has
// vouched for; empty if there is none.
func CommonName(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return ""
	}
	return r.TLS.VerifiedChains[0][0].Subject.CommonName
}

func commonName(ctx context.Context) string {
	name, _ := ctx.Value(commonNameKey{}).(string)
	return name
}
