package gateway_test

import (
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway"
	"github.com/flotillakv/flotilla/placement/catalog"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
)

// TestActsOfAdministrators come at a rate of their own, which keeps one tenant from
// filling the catalog and the audit log.
func TestActsOfAdministrators(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	client := flotillav1connect.NewTenantServiceClient(http2(), s.url, connect.WithInterceptors(bearer(s.key)))
	var refused error
	for range 5000 {
		_, err := client.RevokeAPIKey(t.Context(), &flotillav1.RevokeAPIKeyRequest{Id: "wrong"})
		if connect.CodeOf(err) != connect.CodeInvalidArgument {
			refused = err
			break
		}
	}
	info := infoOf(t, refused)
	require.Equal(t, "acts_per_second", info.GetMetadata()["limit"])
	require.Positive(t, info.GetRetryAfter().AsDuration())
	_, err := client.GetLimits(t.Context(), &flotillav1.GetLimitsRequest{})
	require.NoError(t, err, "it changes nothing")
}

// TestAuditEntriesAreShort holds entries, which stay for ever, to a size, whatever a
// tenant's administrators have named.
func TestAuditEntriesAreShort(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	client := flotillav1connect.NewTenantServiceClient(http2(), s.url, connect.WithInterceptors(bearer(s.key)))
	_, err := client.CreateAPIKey(t.Context(), &flotillav1.CreateAPIKeyRequest{Permissions: []*flotillav1.Permission{
		{Actions: []flotillav1.Action{flotillav1.Action_ACTION_READ}, Prefix: make([]byte, 4096)},
	}})
	require.NoError(t, err)
	entries, _, err := s.catalog.ListAudit(t.Context(), catalog.AuditFilter{Limit: 1})
	require.NoError(t, err)
	require.LessOrEqual(t, len(entries[0].GetDetail()), 1024)
}

// TestKeysThatCouldDoNothing are refused where they are made, with the reason.
func TestKeysThatCouldDoNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, gateway.Config{})
	client := flotillav1connect.NewTenantServiceClient(http2(), s.url, connect.WithInterceptors(bearer(s.key)))
	_, err := client.CreateAPIKey(t.Context(), &flotillav1.CreateAPIKeyRequest{Permissions: []*flotillav1.Permission{
		{Actions: []flotillav1.Action{flotillav1.Action_ACTION_ADMIN}, Namespace: "default"},
	}})
	require.ErrorContains(t, err, "admin needs all namespaces")
	require.Equal(t, connect.CodeInvalidArgument, connect.CodeOf(err))
	list, err := client.ListAPIKeys(t.Context(), &flotillav1.ListAPIKeysRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetApiKeys(), 1, "none was made")
}
