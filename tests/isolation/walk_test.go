package isolation

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// walked says who may call a procedure of a tenant's port.
type walked struct {
	// request makes a request that is right but for who sends it.
	request func() proto.Message
	// needs are the actions that it takes, all of them.
	needs tenancy.Action
	// whole says that it takes them for all keys of the namespace, and tenant that
	// it does for all namespaces. Otherwise the keys begin with walkPrefix.
	whole, tenant bool
	// anybody says why every credential will do that reaches the namespace.
	anybody string
	// nobody says why it is refused to all who are let in.
	nobody string
	// public says why it takes no credential.
	public string
}

const (
	walkPrefix    = "walk/"
	walkNamespace = "default"
)

// actionsOf are the single actions of a set.
func actionsOf(set tenancy.Action) (list []tenancy.Action) {
	for a := tenancy.Action(1); a < tenancy.AllActions; a <<= 1 {
		if set&a != 0 {
			list = append(list, a)
		}
	}
	return list
}

// enough is what just allows it.
func (w walked) enough() tenancy.Permissions {
	switch {
	case w.anybody != "":
		return tenancy.Permissions{{Actions: tenancy.ActionQueueSend, Namespace: walkNamespace, Prefix: []byte("x")}}
	case w.tenant:
		return tenancy.Permissions{{Actions: w.needs}}
	case w.whole:
		return tenancy.Permissions{{Actions: w.needs, Namespace: walkNamespace}}
	default:
		return tenancy.Permissions{{Actions: w.needs, Namespace: walkNamespace, Prefix: []byte(walkPrefix)}}
	}
}

// short is what allows a lot, and not this.
func (w walked) short() map[string]tenancy.Permissions {
	const all = tenancy.AllActions
	short := map[string]tenancy.Permissions{
		"another namespace": {{Actions: all, Namespace: "other"}},
	}
	if w.anybody != "" {
		return short
	}
	elsewhere := []byte("elsewhere/")
	short["another prefix"] = tenancy.Permissions{{Actions: all, Namespace: walkNamespace, Prefix: elsewhere}}
	short["another prefix in all namespaces"] = tenancy.Permissions{{Actions: all, Prefix: elsewhere}}
	for _, a := range actionsOf(w.needs) {
		short[fmt.Sprintf("all but %s", a)] = tenancy.Permissions{{Actions: all &^ a}}
		short[fmt.Sprintf("%s elsewhere", a)] = tenancy.Permissions{
			{Actions: all &^ a}, {Actions: all, Namespace: "other"}, {Actions: all, Prefix: elsewhere},
		}
	}
	if w.whole || w.tenant {
		short["a prefix"] = tenancy.Permissions{{Actions: all, Namespace: walkNamespace, Prefix: []byte(walkPrefix)}}
		short["all keys in two parts"] = tenancy.Permissions{{Actions: all, Prefix: []byte{0}}, {Actions: all, Prefix: []byte{0xff}}}
	}
	if w.tenant {
		short["one namespace"] = tenancy.Permissions{{Actions: all, Namespace: walkNamespace}}
	}
	return short
}

// walker walks the procedures of a port as a tenant.
type walker struct {
	tenant *tenant
	// keys are those that were made, by what they allow.
	keys map[string][2]string
}

func newWalker(t *testing.T) *walker {
	t.Helper()
	return &walker{tenant: newTenant(t), keys: make(map[string][2]string)}
}

// credentials are an API key that allows what is said, and a token that a key of
// the whole tenant was exchanged for.
func (w *walker) credentials(t *testing.T, permissions tenancy.Permissions) [2]string {
	t.Helper()
	name := fmt.Sprint(permissions)
	if found, ok := w.keys[name]; ok {
		return found
	}
	w.keys[name] = [2]string{
		w.tenant.allow(t, permissions...),
		exchange(t, w.tenant.key, &flotillav1.ExchangeTokenRequest{Permissions: permissions.Proto()}),
	}
	return w.keys[name]
}

// requireVerdict calls a procedure and says who did if the verdict is another one.
func requireVerdict(t *testing.T, want verdict, c caller, method protoreflect.MethodDescriptor, who, credential string, request proto.Message) {
	t.Helper()
	got := c.call(t.Context(), method, credential, request)
	require.Equal(t, want, got.verdict(), "%s for %s: %v", procedureOf(method), who, got.err)
}

// permissions calls a procedure with credentials that allow it, and with those that
// allow something else.
func (w *walker) permissions(t *testing.T, c caller, method protoreflect.MethodDescriptor, row walked) {
	t.Helper()
	kinds := [2]string{"a key of", "a token of"}
	if row.nobody != "" {
		requireVerdict(t, unimplemented, c, method, "the tenant's owner", w.tenant.key, row.request())
		return
	}
	requireVerdict(t, served, c, method, "the tenant's owner", w.tenant.key, row.request())
	for i, credential := range w.credentials(t, row.enough()) {
		requireVerdict(t, served, c, method, kinds[i]+" just enough", credential, row.request())
	}
	for name, permissions := range row.short() {
		for i, credential := range w.credentials(t, permissions) {
			requireVerdict(t, denied, c, method, kinds[i]+" "+name, credential, row.request())
		}
	}
}
