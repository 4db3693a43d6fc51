package isolation

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// act is an administrative call, and what the audit log must tell of it.
type act struct {
	method   string
	request  proto.Message
	subjects []string
	// refused says why it is not done here, so that there is no entry.
	refused string
}

// acts are all calls that change something, in an order in which each can. Made is
// what stands for the id of a key that was made before.
func acts(a *tenant, second string) []act {
	limits := &flotillav1.Limits{KeysMax: 1000}
	record := &flotillav1.Issuer{Name: "ci", Issuer: "https://ci.example", Rules: walkAPI()["TenantService.SetIssuer"].request().(*flotillav1.SetIssuerRequest).GetIssuer().GetRules()} //nolint:forcetypeassert,errcheck // it is
	key := &flotillav1.CreateAPIKeyRequest{Description: "for the log"}
	return []act{
		{"TenantService.CreateNamespaces", &flotillav1.CreateNamespacesRequest{Names: []string{"one", "two"}}, []string{"one", "two"}, ""},
		{"TenantService.CreateNamespaces", &flotillav1.CreateNamespacesRequest{Names: []string{"three", "one"}}, nil, "it exists"},
		{"TenantService.DeleteNamespaces", &flotillav1.DeleteNamespacesRequest{Names: []string{"two"}}, []string{"two"}, ""},
		{"TenantService.DeleteNamespaces", &flotillav1.DeleteNamespacesRequest{Names: []string{"one", "two"}}, nil, "one does not exist"},
		{"TenantService.CreateAPIKey", key, []string{"*"}, ""},
		{"TenantService.RotateAPIKey", &flotillav1.RotateAPIKeyRequest{Id: idOf(second)}, []string{idOf(second)}, ""},
		{"TenantService.RotateAPIKey", &flotillav1.RotateAPIKeyRequest{Id: idOf(second)}, nil, "it was replaced"},
		{"TenantService.RevokeAPIKey", &flotillav1.RevokeAPIKeyRequest{Id: idOf(second)}, []string{idOf(second)}, ""},
		{"TenantService.RevokeAPIKey", &flotillav1.RevokeAPIKeyRequest{Id: idOf(second)}, nil, "it is revoked"},
		{"TenantService.SetIssuer", &flotillav1.SetIssuerRequest{Issuer: record}, []string{"ci"}, ""},
		{"TenantService.SetIssuer", &flotillav1.SetIssuerRequest{Issuer: &flotillav1.Issuer{Name: "ci"}}, nil, "it has no rules"},
		{"TenantService.DeleteIssuer", &flotillav1.DeleteIssuerRequest{Name: "ci"}, []string{"ci"}, ""},
		{"TenantService.DeleteIssuer", &flotillav1.DeleteIssuerRequest{Name: "ci"}, nil, "it does not exist"},

		{"AdminService.CreateTenants", &adminv1.CreateTenantsRequest{Tenants: []*adminv1.NewTenant{{Name: a.name}, {Name: a.name + "-2"}, {Name: "Bad"}}}, []string{a.name + "-2"}, ""},
		{"AdminService.SetTenantLimits", &adminv1.SetTenantLimitsRequest{Tenant: a.name, Limits: limits}, []string{a.name}, ""},
		{"AdminService.SetTenantLimits", &adminv1.SetTenantLimitsRequest{Tenant: a.name, Weight: proto.Uint32(1000)}, nil, "weights end at 100"},
		{"AdminService.CreateNamespaces", &adminv1.CreateNamespacesRequest{Tenant: a.name, Names: []string{"four"}}, []string{"four"}, ""},
		{"AdminService.DeleteNamespaces", &adminv1.DeleteNamespacesRequest{Tenant: a.name, Names: []string{"four"}}, []string{"four"}, ""},
		{"AdminService.CreateAPIKey", &adminv1.CreateAPIKeyRequest{Tenant: a.name, Key: key}, []string{"*"}, ""},
		{"AdminService.RotateAPIKey", &adminv1.RotateAPIKeyRequest{Tenant: a.name, Key: &flotillav1.RotateAPIKeyRequest{Id: a.id()}}, []string{a.id()}, ""},
		{"AdminService.RevokeAPIKey", &adminv1.RevokeAPIKeyRequest{Tenant: a.name, Id: a.id()}, []string{a.id()}, ""},
		{"AdminService.SuspendTenant", &adminv1.SuspendTenantRequest{Tenant: a.name}, []string{a.name}, ""},
		{"AdminService.ResumeTenant", &adminv1.ResumeTenantRequest{Tenant: a.name}, []string{a.name}, ""},
		{"AdminService.DeleteTenant", &adminv1.DeleteTenantRequest{Tenant: a.name, Grace: durationpb.New(time.Hour)}, []string{a.name}, ""},
		{"AdminService.DeleteTenant", &adminv1.DeleteTenantRequest{Tenant: a.name}, nil, "it is deleted"},
		{"AdminService.CreateOperator", &adminv1.CreateOperatorRequest{Operator: &adminv1.Operator{Name: a.name, Role: adminv1.OperatorRole_OPERATOR_ROLE_VIEWER}}, []string{a.name}, ""},
		{"AdminService.DeleteOperator", &adminv1.DeleteOperatorRequest{Name: a.name}, []string{a.name}, ""},
		{"AdminService.DeleteOperator", &adminv1.DeleteOperatorRequest{Name: "bootstrap"}, nil, "it is the last owner"},
		{"AdminService.RemoveNode", &adminv1.RemoveNodeRequest{Node: "n1"}, nil, "it is the only node"},
	}
}

// changes tells whether a procedure changes anything.
func changes(method protoreflect.MethodDescriptor) bool {
	options, ok := method.Options().(*descriptorpb.MethodOptions)
	return !ok || options.GetIdempotencyLevel() != descriptorpb.MethodOptions_NO_SIDE_EFFECTS
}

// TestEveryActHasItsEntry does every administrative act, and what is refused: each act
// has one entry for each of its subjects, with who did it, from where and by which
// call, and what is refused has none.
func TestEveryActHasItsEntry(t *testing.T) {
	t.Parallel()
	a := newTenant(t)
	second := a.allow(t)
	done := make(map[string]bool)
	for _, one := range acts(a, second) {
		before := len(entriesOf(t, &adminv1.ListAuditRequest{PageSize: 1000, Tenant: a.name}))
		id, err := doAct(t, a, one)
		require.Equal(t, one.refused == "", err == nil, "%s: %v", one.method, err)
		done[one.method] = done[one.method] || one.refused == "" || one.method == "AdminService.RemoveNode"
		if one.refused != "" {
			require.Len(t, entriesOf(t, &adminv1.ListAuditRequest{PageSize: 1000, Tenant: a.name}), before, "%s was refused: %s", one.method, one.refused)
			continue
		}
		var subjects []string
		for _, e := range entriesOf(t, &adminv1.ListAuditRequest{PageSize: 1000}) {
			if e.GetRequestId() != id {
				continue
			}
			if one.subjects[0] != "*" {
				subjects = append(subjects, e.GetSubject())
			} else {
				subjects = append(subjects, "*")
			}
			require.Equal(t, one.method, e.GetAct())
			if strings.HasPrefix(one.method, "AdminService.") {
				require.Equal(t, "operator:bootstrap", e.GetActor())
			} else {
				require.Equal(t, "key:"+a.name+"/"+a.id(), e.GetActor())
			}
			require.Regexp(t, `^127\.0\.0\.1:\d+$`, e.GetAddress())
			require.NotEmpty(t, e.GetDetail())
			require.WithinDuration(t, time.Now(), e.GetTime().AsTime(), time.Minute)
		}
		require.ElementsMatch(t, one.subjects, subjects, one.method)
	}
	for _, method := range append(methodsOf("flotilla.v1"), methodsOf("flotilla.admin.v1")...) {
		service := string(method.Parent().Name())
		if (service == "TenantService" || service == "AdminService") && changes(method) {
			require.True(t, done[service+"."+string(method.Name())], "nobody looks for the entry of %s.%s", service, method.Name())
		}
	}
}

// doAct makes a call as the tenant's owner or as an operator, and returns its id.
func doAct(t *testing.T, a *tenant, one act) (id string, err error) {
	t.Helper()
	base, credential, pkg := shared.node.APIURL(), a.key, "/flotilla.v1."
	if strings.HasPrefix(one.method, "AdminService.") {
		base, credential, pkg = shared.node.OpsURL(), shared.owner, "/flotilla.admin.v1."
	}
	f, err := encode("proto", one.request)
	require.NoError(t, err)
	c := connect.NewClient[frame, frame](http1(""), base+pkg+strings.Replace(one.method, ".", "/", 1),
		connect.WithCodec(frames{"proto"}), connect.WithInterceptors(bearer(credential)))
	response, err := c.CallUnary(t.Context(), connect.NewRequest(f))
	if err != nil {
		return "", err
	}
	return response.Header().Get("Flotilla-Request-Id"), nil
}

// entriesOf lists the audit log to its end, the newest first.
func entriesOf(t *testing.T, request *adminv1.ListAuditRequest) []*adminv1.AuditEntry {
	t.Helper()
	var list []*adminv1.AuditEntry
	for {
		page, err := admin(shared.owner).ListAudit(context.WithoutCancel(t.Context()), request)
		require.NoError(t, err)
		list = append(list, page.GetEntries()...)
		if request.PageToken = page.GetNextPageToken(); request.GetPageToken() == "" {
			return list
		}
	}
}

// TestAuditPages: small pages tell the same as large ones, in the same order.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	a := newTenant(t)
	for range 5 {
		for _, one := range acts(a, a.key)[:1] {
			_, err := doAct(t, a, one)
			_ = err // the names are taken after the first time
		}
	}
	all := entriesOf(t, &adminv1.ListAuditRequest{Tenant: a.name})
	require.Len(t, all, 4, "the tenant and its namespaces")
	small := entriesOf(t, &adminv1.ListAuditRequest{Tenant: a.name, PageSize: 1})
	require.Len(t, small, len(all))
	for i := range all {
		require.True(t, proto.Equal(all[i], small[i]))
		if i > 0 {
			require.False(t, all[i].GetTime().AsTime().After(all[i-1].GetTime().AsTime()))
		}
	}
	require.Empty(t, entriesOf(t, &adminv1.ListAuditRequest{Tenant: "nobody"}))
	_, err := admin(shared.owner).ListAudit(t.Context(), &adminv1.ListAuditRequest{PageToken: "../tenants/"})
	require.ErrorContains(t, err, "page_token")
}
