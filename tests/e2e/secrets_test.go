package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	"github.com/flotillakv/flotilla/tests/process"
)

// secrets are what must not be seen anywhere, by what they are.
type secrets map[string]string

// add notes a credential, with what is stored of it, in all spellings.
func (s secrets) add(what, text string) {
	s[what] = text
	parts := strings.Split(text, "_")
	if len(parts) != 3 {
		return
	}
	s["secret part of "+what] = parts[2]
	bits, err := base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding).DecodeString(parts[2])
	if err != nil {
		return
	}
	hash := sha256.Sum256(bits)
	s["hash of "+what] = hex.EncodeToString(hash[:])
	s["hash of "+what+" in base64"] = base64.StdEncoding.EncodeToString(hash[:])
	s["hash of "+what+" in bytes"] = fmt.Sprintf("%d", hash[:])
	s["raw hash of "+what] = string(hash[:])
}

// TestSecretsAreNowhere has a node at the debug level make, take, refuse and end all
// kinds of credentials, and looks for them in all that it tells without being asked
// for them.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	c := process.NewCluster(t, 1, "--data-shards", "1", "--log-level", "debug")
	ctx := t.Context()
	found := make(secrets)
	found.add("the tenant's key", c.Info.APIKey)
	operatorText, err := os.ReadFile(filepath.Join(c.Nodes[0].DataDir, "operator.token"))
	require.NoError(t, err)
	operator := strings.TrimSpace(string(operatorText))
	found.add("the operator's credential", operator)
	var told strings.Builder // errors and answers that hold no new credential
	tell := func(message any, err error) { fmt.Fprintln(&told, message, err) }

	admins := func(credential string) adminv1connect.AdminServiceClient {
		return adminv1connect.NewAdminServiceClient(http.DefaultClient, c.OpsURL(0), connect.WithInterceptors(process.Bearer(credential)))
	}
	as := func(credential string) (flotillav1connect.KVServiceClient, flotillav1connect.TenantServiceClient, flotillav1connect.AuthServiceClient) {
		with := connect.WithInterceptors(process.Bearer(credential))
		url := c.APIURLs(0)[0]
		return flotillav1connect.NewKVServiceClient(http.DefaultClient, url, with), flotillav1connect.NewTenantServiceClient(http.DefaultClient, url, with),
			flotillav1connect.NewAuthServiceClient(http.DefaultClient, url, with)
	}
	made, err := admins(operator).CreateTenants(ctx, &adminv1.CreateTenantsRequest{Tenants: []*adminv1.NewTenant{{Name: "acme"}}})
	require.NoError(t, err)
	found.add("acme's key", made.GetResults()[0].GetSecret())
	eve, err := admins(operator).CreateOperator(ctx, &adminv1.CreateOperatorRequest{Operator: &adminv1.Operator{Name: "eve", Role: adminv1.OperatorRole_OPERATOR_ROLE_VIEWER}})
	require.NoError(t, err)
	found.add("eve's credential", eve.GetSecret())
	tell(admins(eve.GetSecret()).SuspendTenant(ctx, &adminv1.SuspendTenantRequest{Tenant: "acme"}))
	tell(admins(operator).ListOperators(ctx, &adminv1.ListOperatorsRequest{}))
	tell(admins(operator).ListAPIKeys(ctx, &adminv1.ListAPIKeysRequest{Tenant: "acme"}))

	kv, tenants, auths := as(c.Info.APIKey)
	second, err := tenants.CreateAPIKey(ctx, &flotillav1.CreateAPIKeyRequest{Description: "second"})
	require.NoError(t, err)
	found.add("a second key", second.GetSecret())
	rotated, err := tenants.RotateAPIKey(ctx, &flotillav1.RotateAPIKeyRequest{Id: second.GetApiKey().GetId(), Overlap: durationpb.New(0)})
	require.NoError(t, err)
	found.add("a key that replaces it", rotated.GetSecret())
	token, err := auths.ExchangeToken(ctx, &flotillav1.ExchangeTokenRequest{})
	require.NoError(t, err)
	found["a token"] = token.GetToken()
	found["a token's signature"] = token.GetToken()[strings.LastIndexByte(token.GetToken(), '.')+1:]
	wrong := "flk_" + strings.Split(c.Info.APIKey, "_")[1] + "_" + strings.Repeat("b", 51) + "a"
	found.add("a wrong key", wrong)
	found["a token that was changed"] = token.GetToken()[:len(token.GetToken())-6] + "AAAAAA"
	found["garbage"] = "hunter2-hunter2-hunter2"
	found["a value"] = "what-the-value-says"
	tell(kv.Put(ctx, &flotillav1.PutRequest{Key: []byte("k"), Value: []byte(found["a value"])}))
	for _, credential := range []string{second.GetSecret(), rotated.GetSecret(), wrong, found["a token"], found["a token that was changed"], found["garbage"], operator, "flk_" + found["garbage"]} {
		someKV, someTenants, someAuths := as(credential)
		tell(someKV.Delete(ctx, &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: []byte("none")}}))
		tell(someTenants.ListAPIKeys(ctx, &flotillav1.ListAPIKeysRequest{}))
		tell(someTenants.RevokeAPIKey(ctx, &flotillav1.RevokeAPIKeyRequest{Id: credential}))
		tell(someTenants.DeleteIssuer(ctx, &flotillav1.DeleteIssuerRequest{Name: "none"}))
		_, err := someAuths.ExchangeToken(ctx, &flotillav1.ExchangeTokenRequest{Ttl: durationpb.New(-1)})
		tell(nil, err)
		tell(admins(credential).ListTenants(ctx, &adminv1.ListTenantsRequest{}))
		plain := curl{base: c.APIURLs(0)[0], key: credential}
		tell(plain.get(t, "/v1/kv/none").body, nil)
	}
	etcdCalls(ctx, t, c, found, tell)
	logs := c.Nodes[0].Output()
	require.Contains(t, logs, "level=DEBUG msg=rpc", "the log is one of everything")
	audit, err := admins(operator).ListAudit(ctx, &adminv1.ListAuditRequest{PageSize: 1000})
	require.NoError(t, err)
	require.Greater(t, len(audit.GetEntries()), 5)
	places := map[string]string{"the log": logs, "errors and answers": told.String(), "the audit log": audit.String()}
	for _, path := range []string{"/metrics", "/status", "/readyz", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
		places[path] = curl{base: c.OpsURL(0)}.get(t, path).ok(t).body
	}
	for _, name := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.Nodes[0].PID(), name))
		if os.IsNotExist(err) {
			continue // another operating system
		}
		require.NoError(t, err)
		places[name] = string(text)
	}
	for place, text := range places {
		for what, secret := range found {
			if strings.Contains(text, secret) { // NotContains would print it all
				require.Fail(t, "a secret is told", "%s is in %s", what, place)
			}
		}
	}
	requireSealed(t, c.Nodes[0].DataDir, found)
}

// etcdCalls logs in on the etcd port, rightly and wrongly.
func etcdCalls(ctx context.Context, t *testing.T, c *process.Cluster, found secrets, tell func(any, error)) {
	t.Helper()
	conn := dialEtcd(t, c.EtcdEndpoints()[0])
	id, secret := strings.Split(c.Info.APIKey, "_")[1], strings.Split(c.Info.APIKey, "_")[2]
	good, err := pb.NewAuthClient(conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: id, Password: secret})
	require.NoError(t, err)
	found["etcd's token"] = good.GetToken()
	tell(pb.NewAuthClient(conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: id, Password: found["garbage"]}))
	for _, token := range []string{good.GetToken(), found["garbage"], found["a wrong key"] + "@default", found["a token"], found["a token that was changed"]} {
		as := metadata.AppendToOutgoingContext(ctx, "token", token)
		answer, err := pb.NewKVClient(conn).Range(as, &pb.RangeRequest{Key: []byte("none")})
		tell(answer, err)
		status, err := pb.NewAuthClient(conn).UserAdd(as, &pb.AuthUserAddRequest{Name: "x", Password: found["garbage"]})
		tell(status, err)
	}
}

// requireSealed looks through a data directory: no file but those that are made for
// it has a credential, and nobody else may read these.
func requireSealed(t *testing.T, dir string, found secrets) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // a file of the store that was replaced
		}
		for what, secret := range found {
			if strings.Contains(what, "hash") || what == "a value" || !bytes.Contains(data, []byte(secret)) {
				continue // what is stored
			}
			name := filepath.Base(path)
			require.True(t, name == "operator.token" || name == "tenant-test.json", "%s is in %s", what, path)
			info, err := entry.Info()
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
		}
		return err
	}))
}

// TestFirstOperator: a new cluster has one credential of an operator, in a file for
// its owner's eyes only, and a start that was cut short goes on with it.
func TestFirstOperator(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	path := filepath.Join(node.DataDir, "operator.token")
	first, err := os.ReadFile(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	list := func(credential string) (*adminv1.ListOperatorsResponse, error) {
		client := adminv1connect.NewAdminServiceClient(http.DefaultClient, node.Info.OpsURL, connect.WithInterceptors(process.Bearer(strings.TrimSpace(credential))))
		return client.ListOperators(t.Context(), &adminv1.ListOperatorsRequest{})
	}
	before, err := list(string(first))
	require.NoError(t, err)
	require.Len(t, before.GetOperators(), 1)

	node.Stop(t)
	node.Start(t)
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, first, again)
	after, err := list(string(first))
	require.NoError(t, err)
	require.True(t, proto.Equal(before, after), "no other one is made")

	require.NoError(t, os.Remove(path))
	node.Stop(t)
	node.Start(t)
	_, err = os.Stat(path)
	require.True(t, os.IsNotExist(err), "who has removed the file gets no other credential")
	_, err = list(string(first))
	require.NoError(t, err)
}
