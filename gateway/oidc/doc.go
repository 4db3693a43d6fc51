// Package oidc fetches the public keys of the OpenID Connect issuers that tenants
// have named, and keeps them for a while. The URLs are a tenant's, so nothing is
// fetched from addresses that only the platform can reach, nothing large is read, and
// one issuer is asked seldom, whatever tokens are shown.
package oidc
