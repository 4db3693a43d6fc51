package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tests/process"
)

// TestSecretsStaySecret makes and uses credentials of every kind, right and wrong
// ones, on a node that logs all it can, and looks for them wherever somebody else
// might.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	node := process.Dev(t, "--log-level", "debug")
	ctx := t.Context()
	seen := map[string]string{} // secrets by what they are
	var told []string           // what was told to callers
	tell := func(err error) {
		if err != nil {
			told = append(told, err.Error())
		}
	}

	token, err := os.ReadFile(node.Info.OperatorFile)
	require.NoError(t, err)
	seen["first operator"] = strings.TrimSpace(string(token))
	operators := adminv1connect.NewAdminServiceClient(http.DefaultClient, node.Info.OpsURL, connect.WithInterceptors(bearer(seen["first operator"])))
	operator, err := operators.CreateOperator(ctx, &adminv1.CreateOperatorRequest{Operator: &adminv1.Operator{Name: "eve", Role: adminv1.OperatorRole_OPERATOR_ROLE_VIEWER}})
	require.NoError(t, err)
	seen["operator"] = operator.GetSecret()
	made, err := operators.CreateTenants(ctx, &adminv1.CreateTenantsRequest{Tenants: []*adminv1.NewTenant{{Name: "acme"}}})
	require.NoError(t, err)
	seen["first key"] = made.GetResults()[0].GetSecret()

	as := func(credential string) flotillav1connect.KVServiceClient {
		return flotillav1connect.NewKVServiceClient(http.DefaultClient, node.Info.APIURL, connect.WithInterceptors(bearer(credential)))
	}
	tenant := flotillav1connect.NewTenantServiceClient(http.DefaultClient, node.Info.APIURL, connect.WithInterceptors(bearer(seen["first key"])))
	key, err := tenant.CreateAPIKey(ctx, &flotillav1.CreateAPIKeyRequest{Description: "second"})
	require.NoError(t, err)
	seen["key"] = key.GetSecret()
	rotated, err := tenant.RotateAPIKey(ctx, &flotillav1.RotateAPIKeyRequest{Id: key.GetApiKey().GetId()})
	require.NoError(t, err)
	seen["rotated key"] = rotated.GetSecret()
	exchanged, err := flotillav1connect.NewAuthServiceClient(http.DefaultClient, node.Info.APIURL, connect.WithInterceptors(bearer(seen["key"]))).
		ExchangeToken(ctx, &flotillav1.ExchangeTokenRequest{})
	require.NoError(t, err)
	seen["token"] = exchanged.GetToken()

	for what, credential := range seen {
		_, err := as(credential).Get(ctx, &flotillav1.GetRequest{Key: []byte("k")})
		require.Equal(t, strings.Contains(what, "operator"), err != nil, what)
		tell(err)
		wrong := credential[:len(credential)-4] + "aaaa"
		_, err = as(wrong).Get(ctx, &flotillav1.GetRequest{Key: []byte("k")})
		require.Error(t, err)
		tell(err)
		_, err = pb.NewKVClient(dialEtcd(t, node.Info.EtcdURL)).Range(withToken(ctx, "token", wrong), &pb.RangeRequest{Key: []byte("k")})
		require.Error(t, err)
		tell(err)
		_, err = pb.NewAuthClient(dialEtcd(t, node.Info.EtcdURL)).Authenticate(ctx, &pb.AuthenticateRequest{Name: "acme/default", Password: wrong})
		require.Error(t, err)
		tell(err)
	}
	require.NoError(t, ignore(tenant.RevokeAPIKey(ctx, &flotillav1.RevokeAPIKeyRequest{Id: key.GetApiKey().GetId()})))
	_, err = as(seen["token"]).Get(ctx, &flotillav1.GetRequest{Key: []byte("k")})
	require.Equal(t, connect.CodeUnauthenticated, connect.CodeOf(err), "it ends with its key")
	tell(err)
	audit, err := operators.ListAudit(ctx, &adminv1.ListAuditRequest{PageSize: 1000})
	require.NoError(t, err)

	places := map[string]string{
		"logs": node.Output(), "errors": strings.Join(told, "\n"), "audit": audit.String(),
		"metrics": page(ctx, t, node.Info.OpsURL+"/metrics"), "status": page(ctx, t, node.Info.OpsURL+"/status"),
		"keys of tokens": page(ctx, t, node.Info.APIURL+"/.well-known/jwks.json"),
	}
	for _, file := range []string{"cmdline", "environ"} {
		if text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(node.PID()), file)); err == nil {
			places[file] = string(text)
		}
	}
	require.Contains(t, places["logs"], "level=DEBUG", "it logs all it can")
	for place, text := range places {
		for what, credential := range seen {
			secret := credential[strings.LastIndexAny(credential, "_.")+1:]
			require.NotContains(t, text, secret, "%s in %s", what, place)
		}
	}
}

func ignore[T any](_ T, err error) error { return err }

// page is what a URL answers.
func page(ctx context.Context, t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	return string(text)
}
