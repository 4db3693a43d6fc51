package isolation

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/flotillakv/flotilla/placement/catalog"
	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
)

// walkAdmin says which role each procedure of operators takes at least.
func walkAdmin() map[string]catalog.Role {
	const viewer, operator, owner = catalog.RoleViewer, catalog.RoleOperator, catalog.RoleOwner
	return map[string]catalog.Role{
		"AdminService.CreateTenants":    operator,
		"AdminService.ListTenants":      viewer,
		"AdminService.GetTenant":        viewer,
		"AdminService.SetTenantLimits":  operator,
		"AdminService.SuspendTenant":    operator,
		"AdminService.ResumeTenant":     operator,
		"AdminService.DeleteTenant":     owner,
		"AdminService.CreateNamespaces": operator,
		"AdminService.ListNamespaces":   viewer,
		"AdminService.DeleteNamespaces": owner,
		"AdminService.CreateAPIKey":     operator,
		"AdminService.ListAPIKeys":      viewer,
		"AdminService.RotateAPIKey":     operator,
		"AdminService.RevokeAPIKey":     operator,
		"AdminService.GetUsage":         viewer,
		"AdminService.ListAudit":        viewer,
		"AdminService.CreateOperator":   owner,
		"AdminService.ListOperators":    owner,
		"AdminService.DeleteOperator":   owner,
		"AdminService.RemoveNode":       owner,
	}
}

// newOperator makes the credential of an operator, which ends with the test.
func newOperator(t *testing.T, name string, role catalog.Role) string {
	t.Helper()
	made, err := admin(shared.owner).CreateOperator(t.Context(), &adminv1.CreateOperatorRequest{Operator: &adminv1.Operator{Name: name, Role: role}})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := admin(shared.owner).DeleteOperator(context.WithoutCancel(t.Context()), &adminv1.DeleteOperatorRequest{Name: name})
		require.NoError(t, err)
	})
	return made.GetSecret()
}

// TestAdminWalk calls every procedure of operators by every protocol, with each
// credential that is none, and in each role. The requests are empty: who may not do
// a thing is not told what is wrong with how it is asked for.
func TestAdminWalk(t *testing.T) {
	t.Parallel()
	table, methods := walkAdmin(), methodsOf("flotilla.admin.v1")
	known(t, table, methods)
	wrong := wrongOperators(t)
	roles := map[catalog.Role]string{catalog.RoleOwner: shared.owner}
	roles[catalog.RoleViewer] = newOperator(t, "walk-viewer", catalog.RoleViewer)
	roles[catalog.RoleOperator] = newOperator(t, "walk-operator", catalog.RoleOperator)
	for _, method := range methods {
		least := table[string(method.Parent().Name())+"."+string(method.Name())]
		for _, protocol := range protocolsOf1(shared.node.OpsURL(), newPlace()) {
			for name, credential := range wrong {
				requireVerdict(t, unauthenticated, protocol, method, protocol.name+" with "+name, credential, &emptypb.Empty{})
			}
			for role, credential := range roles {
				got := protocol.call(t.Context(), method, credential, &emptypb.Empty{})
				if role < least {
					require.Equal(t, denied, got.verdict(), "%s for %s: %v", procedureOf(method), role, got.err)
				} else {
					require.NotContains(t, []verdict{denied, unauthenticated}, got.verdict(), "%s for %s: %v", procedureOf(method), role, got.err)
				}
			}
		}
	}
}

// TestPortsServeTheirOwn asks each port for what belongs to another: it is not there,
// whoever asks.
func TestPortsServeTheirOwn(t *testing.T) {
	t.Parallel()
	a := newTenant(t)
	for _, credential := range []string{"", a.key, shared.owner} {
		for base, methods := range map[string][]string{
			shared.node.APIURL(): {"/flotilla.admin.v1.AdminService/ListTenants", "/metrics", "/status", "/debug/pprof/", "/etcdserverpb.KV/Range", "/flotilla.v1.KVService/None"},
			shared.node.OpsURL(): {"/flotilla.v1.KVService/Get", "/flotilla.v1.TenantService/ListAPIKeys", "/v1/kv/k", "/.well-known/jwks.json", "/flotilla.admin.v1.AdminService/None"},
		} {
			for _, path := range methods {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, http.NoBody)
				require.NoError(t, err)
				request.Header.Set("Content-Type", "application/json")
				request.Header.Set("Authorization", bearer(credential).header())
				response, err := http.DefaultClient.Do(request)
				require.NoError(t, err)
				response.Body.Close()
				require.Equal(t, http.StatusNotFound, response.StatusCode, "%s%s", base, path)
			}
		}
	}
}

// nodeStatus is what /status tells, as far as tests ask.
type nodeStatus struct {
	ClusterID string `json:"cluster_id"`
}

// statusOf reads /status.
func statusOf(t *testing.T, see func(*nodeStatus)) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, shared.node.OpsURL()+"/status", http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var status nodeStatus
	err = json.NewDecoder(response.Body).Decode(&status)
	see(&status)
	return err
}
