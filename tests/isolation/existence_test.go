package isolation

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// ofA is a namespace that one tenant has, and ofNobody one that none has.
const (
	ofA      = "of-a"
	ofNobody = "of-x"
)

// inNamespace has a request and all that is in it mean a namespace. ok is false if it
// names none.
func inNamespace(m protoreflect.Message, name string) (ok bool) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.Name() == "namespace" && f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(name))
			ok = true
		case !m.Has(f) || f.Kind() != protoreflect.MessageKind || f.IsMap():
		case f.IsList():
			for j := range m.Get(f).List().Len() {
				ok = inNamespace(m.Get(f).List().Get(j).Message(), name) || ok
			}
		default:
			ok = inNamespace(m.Mutable(f).Message(), name) || ok
		}
	}
	return ok
}

// requireSame asks for something of another tenant, and for something that does not
// exist: the answers must be the same, but for what the caller has said itself.
func requireSame(t *testing.T, what string, ask func(said string) string, foreign, absent string) {
	t.Helper()
	got, want := ask(foreign), ask(absent)
	require.Equal(t, want, got, "%s tells that it exists", what)
}

// neighbors are two tenants, of which a has the namespace ofA with a key, a lease and
// an issuer; b calls.
func neighbors(t *testing.T) (a, b *tenant) {
	t.Helper()
	a, b = newTenant(t), newTenant(t)
	ofTenant := newActor(t, a)
	_, err := as(a.key).tenants.CreateNamespaces(t.Context(), &flotillav1.CreateNamespacesRequest{Names: []string{ofA}})
	require.NoError(t, err)
	for _, s := range script("belongs-to-a")[:20] {
		for _, request := range s.requests {
			inNamespace(request.ProtoReflect(), ofA)
		}
		ofTenant.do(t, s)
	}
	return a, b
}

// TestNamespacesOfOthersDoNotExist calls every procedure that takes a namespace, on
// both ports and by plain HTTP, for one that another tenant has and for one that
// nobody has.
func TestNamespacesOfOthersDoNotExist(t *testing.T) {
	t.Parallel()
	_, b := neighbors(t)
	asked := 0
	api := overConnect{"Connect over HTTP 2", shared.node.APIURL(), "proto", nil, http2("")}
	table := walkAPI()
	for _, method := range methodsOf("flotilla.v1") {
		name := string(method.Parent().Name()) + "." + string(method.Name())
		request := table[name].request()
		if !inNamespace(request.ProtoReflect(), ofA) {
			continue
		}
		asked++
		requireSame(t, name, func(said string) string {
			request := proto.Clone(request)
			inNamespace(request.ProtoReflect(), said)
			return api.call(t.Context(), method, b.key, request).text(said)
		}, ofA, ofNobody)
	}
	require.GreaterOrEqual(t, asked, 17)

	etcd, etcdTable := dialEtcd(t, ""), walkEtcd()
	for _, method := range etcdMethods {
		name := string(method.Parent().Name()) + "." + string(method.Name())
		requireSame(t, name, func(said string) string {
			return etcd.call(t.Context(), method, b.key+"@"+said, etcdTable[name].request()).text(said)
		}, ofA, ofNobody)
	}

	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodHead} {
		for _, rest := range []string{"/kv/app/a", "/kv", "/kv/app/a?watch=true"} {
			requireSame(t, method+" "+rest, func(said string) string {
				return plainText(t, method, "/v1/ns/"+said+rest, b.key, said)
			}, ofA, ofNobody)
		}
	}
}

// plainText is all that a request of the plain HTTP surface is told.
func plainText(t *testing.T, method, path, credential, said string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, shared.node.APIURL()+path, http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Authorization", bearer(credential).header())
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body := new(strings.Builder)
	_, err = fmt.Fprint(body, response.Status)
	require.NoError(t, err)
	for _, varying := range []string{"Date", "Flotilla-Request-Id"} {
		response.Header.Del(varying)
	}
	require.NoError(t, response.Header.Write(body))
	text := make([]byte, 4096)
	n, _ := response.Body.Read(text)
	return strings.ReplaceAll(body.String()+string(text[:n]), said, "?")
}

// TestRecordsOfOthersDoNotExist asks for keys, issuers, leases and pages of another
// tenant, and for such as nobody has.
func TestRecordsOfOthersDoNotExist(t *testing.T) {
	t.Parallel()
	a, b := neighbors(t)
	second := a.newKey(t, past())
	actor := newActor(t, b)
	ask := func(method string, of func(said string) proto.Message) func(string) string {
		return func(said string) string {
			return strings.ReplaceAll(actor.do(t, call(method, of(said))), said, "?")
		}
	}
	for _, id := range []string{a.id(), idOf(second)} {
		requireSame(t, "RotateAPIKey", ask("TenantService.RotateAPIKey", func(said string) proto.Message {
			return &flotillav1.RotateAPIKeyRequest{Id: said}
		}), id, noSuchID)
		requireSame(t, "RevokeAPIKey", ask("TenantService.RevokeAPIKey", func(said string) proto.Message {
			return &flotillav1.RevokeAPIKeyRequest{Id: said}
		}), id, noSuchID)
	}
	requireSame(t, "DeleteIssuer", ask("TenantService.DeleteIssuer", func(said string) proto.Message {
		return &flotillav1.DeleteIssuerRequest{Name: said}
	}), "ci", "xi")
	requireSame(t, "DeleteNamespaces", ask("TenantService.DeleteNamespaces", func(said string) proto.Message {
		return &flotillav1.DeleteNamespacesRequest{Names: []string{said}}
	}), ofA, ofNobody)
	requireSame(t, "ListNamespaces", ask("TenantService.ListNamespaces", func(said string) proto.Message {
		return &flotillav1.ListNamespacesRequest{PageToken: said}
	}), ofA, ofNobody)
	for _, method := range []string{"LeaseService.GetLease", "LeaseService.RevokeLease"} {
		requireSame(t, method, func(said string) string {
			id := map[string]int64{"7": 7, "8": 8}[said]
			if method == "LeaseService.GetLease" {
				return actor.do(t, call(method, &flotillav1.GetLeaseRequest{Id: id, Keys: true}))
			}
			return actor.do(t, call(method, &flotillav1.RevokeLeaseRequest{Id: id}))
		}, "7", "8")
	}
	_, err := as(a.key).kv.Get(t.Context(), &flotillav1.GetRequest{Namespace: ofA, Key: []byte("app/a")})
	require.NoError(t, err, "the key is good")
}

// TestKeysOfOthersAreUnknown shows credentials on all ports that name a key which
// exists, and such as name none: whoever has not the secret is told the same.
func TestKeysOfOthersAreUnknown(t *testing.T) {
	t.Parallel()
	a, b := neighbors(t)
	wrong := strings.Repeat("a", 52)
	expired, suspended := a.newKey(t, past()), newTenant(t)
	suspend(t, suspended)
	get, _ := methodNamed("KVService.Get")
	rangeKeys, _ := methodNamed("KV.Range")
	etcd := dialEtcd(t, newPlace())
	for _, id := range []string{a.id(), idOf(expired), suspended.id()} {
		etcd = dialEtcd(t, newPlace())
		for _, protocol := range protocolsOf(shared.node.APIURL(), newPlace()) {
			requireSame(t, protocol.name, func(said string) string {
				return protocol.call(t.Context(), get, "flk_"+said+"_"+wrong, &flotillav1.GetRequest{Key: walkKey()}).text(said)
			}, id, noSuchID)
		}
		requireSame(t, "plain HTTP", func(said string) string {
			return plainText(t, http.MethodGet, "/v1/kv/k", "flk_"+said+"_"+wrong, said)
		}, id, noSuchID)
		requireSame(t, "etcd's token", func(said string) string {
			return etcd.call(t.Context(), rangeKeys, "flk_"+said+"_"+wrong, &pb.RangeRequest{Key: walkKey()}).text(said)
		}, id, noSuchID)
		requireSame(t, "Authenticate", login(t, etcd, func(said string) (string, string) { return said, wrong }), id, noSuchID)
		requireSame(t, "Authenticate with the tenant", login(t, etcd, func(said string) (string, string) {
			return a.name + "/default/" + said, wrong
		}), id, noSuchID)
	}
	requireSame(t, "Authenticate for another tenant", login(t, etcd, func(said string) (string, string) {
		return said + "/" + ofA, b.key
	}), a.name, "nobody")
	requireSame(t, "the operators' names", func(said string) string {
		method := methodsOf("flotilla.admin.v1")[0]
		return protocolsOf1(shared.node.OpsURL(), newPlace())[0].call(t.Context(), method, "flo_"+said+"_"+wrong, &flotillav1.GetRequest{}).text(said)
	}, "bootstrap", "nobody")
}

// TestIssuersOfOthersAreUnknown shows tokens that claim to be of an issuer that a
// tenant has, whose keys cannot be fetched, and such as claim to be of another one:
// whoever has no token of it is not told which issuers a tenant has.
func TestIssuersOfOthersAreUnknown(t *testing.T) {
	t.Parallel()
	a, i := newTenant(t), newIssuer(t)
	const unreachable, other = "https://127.0.0.1:1/issuer", "https://127.0.0.1:1/absent"
	i.record.Issuer, i.record.Jwks = unreachable, ""
	_, err := as(a.key).tenants.SetIssuer(t.Context(), &flotillav1.SetIssuerRequest{Issuer: i.record})
	require.NoError(t, err)
	token := func(issuer string) string {
		of := *i
		of.record = &flotillav1.Issuer{Issuer: issuer}
		return of.token(t, a.name, "job-1", time.Hour)
	}
	get, _ := methodNamed("KVService.Get")
	rangeKeys, _ := methodNamed("KV.Range")
	etcd := dialEtcd(t, newPlace())
	for _, protocol := range protocolsOf(shared.node.APIURL(), newPlace()) {
		requireSame(t, protocol.name, func(said string) string {
			return protocol.call(t.Context(), get, token(said), &flotillav1.GetRequest{Key: walkKey()}).text(said)
		}, unreachable, other)
	}
	requireSame(t, "plain HTTP", func(said string) string {
		return plainText(t, http.MethodGet, "/v1/kv/k", token(said), said)
	}, unreachable, other)
	requireSame(t, "etcd's token", func(said string) string {
		return etcd.call(t.Context(), rangeKeys, token(said), &pb.RangeRequest{Key: walkKey()}).text(said)
	}, unreachable, other)
	requireSame(t, "Authenticate", login(t, etcd, func(said string) (string, string) { return a.name, token(said) }), unreachable, other)

	listed, err := as(a.key).tenants.ListIssuers(t.Context(), &flotillav1.ListIssuersRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{"ci"}, listed.GetUnreachable(), "its administrators are")
}

func login(t *testing.T, etcd overGRPC, as func(said string) (name, password string)) func(string) string {
	t.Helper()
	method, _ := methodNamed("Auth.Authenticate")
	return func(said string) string {
		name, password := as(said)
		return etcd.call(t.Context(), method, "", &pb.AuthenticateRequest{Name: name, Password: password}).text(said)
	}
}

func suspend(t *testing.T, a *tenant) {
	t.Helper()
	_, err := shared.node.Catalog().SuspendTenant(t.Context(), tenancy.TenantID(a.name))
	require.NoError(t, err)
}

// TestMetricsNameNobody looks for names and keys of tenants in what the operators'
// port tells without asking who calls.
func TestMetricsNameNobody(t *testing.T) {
	t.Parallel()
	a := newTenant(t)
	_, err := as(a.key).tenants.CreateNamespaces(t.Context(), &flotillav1.CreateNamespacesRequest{Names: []string{"zebra-crossing"}})
	require.NoError(t, err)
	_, err = as(a.key).kv.Put(t.Context(), &flotillav1.PutRequest{Namespace: "zebra-crossing", Key: []byte("okapi"), Value: []byte("quagga")})
	require.NoError(t, err)
	for _, path := range []string{"/metrics", "/status", "/readyz"} {
		text := opsText(t, path)
		for _, secret := range []string{"zebra-crossing", "okapi", "quagga", a.id(), strings.Split(a.key, "_")[2]} {
			require.NotContains(t, text, secret, path)
		}
	}
}

func opsText(t *testing.T, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, shared.node.OpsURL()+path, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text := new(strings.Builder)
	require.NoError(t, response.Write(text))
	return text.String()
}
