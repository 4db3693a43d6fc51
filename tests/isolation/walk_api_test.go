package isolation

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	read  = tenancy.ActionRead
	write = tenancy.ActionWrite
	watch = tenancy.ActionWatch
	lease = tenancy.ActionLease
)

// always is a request that is the same each time.
func always(m proto.Message) func() proto.Message { return func() proto.Message { return m } }

// fresh numbers what must be new each time.
var fresh atomic.Int64

func walkKey() []byte { return []byte(walkPrefix + "k") }

func keysUnder(prefix string) *flotillav1.KeyRange {
	return &flotillav1.KeyRange{Prefix: []byte(prefix)}
}

func putOperation(key []byte) *flotillav1.Operation {
	return &flotillav1.Operation{Operation: &flotillav1.Operation_Put{Put: &flotillav1.PutRequest{Key: key}}}
}

// noSuchID is the id of a key that no tenant has.
const noSuchID = "aaaaaaaaaaaaaaaa"

// walkAPI says who may call which procedure of the API's port.
func walkAPI() map[string]walked {
	leased := func(m proto.Message) walked { return walked{request: always(m), needs: lease, whole: true} }
	administers := func(m proto.Message) walked {
		return walked{request: always(m), needs: tenancy.ActionAdmin, tenant: true}
	}
	return map[string]walked{
		"KVService.Get":    {request: always(&flotillav1.GetRequest{Key: walkKey()}), needs: read},
		"KVService.Put":    {request: always(&flotillav1.PutRequest{Key: walkKey()}), needs: write},
		"KVService.Delete": {request: always(&flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: walkKey()}}), needs: write},
		"KVService.Range":  {request: always(&flotillav1.RangeRequest{Keys: keysUnder(walkPrefix)}), needs: read},
		"KVService.RangeStream": {
			request: always(&flotillav1.RangeStreamRequest{Range: &flotillav1.RangeRequest{Keys: keysUnder(walkPrefix)}}), needs: read,
		},
		"KVService.Txn": {request: always(&flotillav1.TxnRequest{
			Compare: []*flotillav1.Compare{compareKey(walkKey())}, Success: []*flotillav1.TxnOperation{inTxn(putOperation(walkKey()))},
		}), needs: read | write},
		"KVService.Compact":  {request: always(&flotillav1.CompactRequest{Revision: 2}), needs: write, whole: true},
		"KVService.Batch":    {request: always(&flotillav1.BatchRequest{Operations: []*flotillav1.Operation{putOperation(walkKey())}}), needs: write},
		"KVService.Pipeline": {request: always(&flotillav1.PipelineRequest{Operations: []*flotillav1.Operation{putOperation(walkKey())}}), needs: write},

		"LeaseService.GrantLease": leased(&flotillav1.GrantLeaseRequest{Ttl: durationpb.New(time.Minute)}),
		"LeaseService.KeepAlive":  leased(&flotillav1.KeepAliveRequest{Ids: []int64{1}}),
		"LeaseService.KeepAliveStream": leased(&flotillav1.KeepAliveStreamRequest{
			KeepAlive: &flotillav1.KeepAliveRequest{Ids: []int64{1}},
		}),
		"LeaseService.RevokeLease": leased(&flotillav1.RevokeLeaseRequest{Id: 1}),
		"LeaseService.GetLease":    leased(&flotillav1.GetLeaseRequest{Id: 1}),
		"LeaseService.ListLeases":  leased(&flotillav1.ListLeasesRequest{}),

		"WatchService.Watch": {request: always(&flotillav1.WatchRequest{Request: &flotillav1.WatchRequest_Create{
			Create: &flotillav1.WatchCreate{Target: &flotillav1.WatchCreate_Range{Range: keysUnder(walkPrefix)}},
		}}), needs: watch},
		"WatchService.WatchOne": {request: always(&flotillav1.WatchOneRequest{
			Watch: &flotillav1.WatchCreate{Target: &flotillav1.WatchCreate_Key{Key: walkKey()}},
		}), needs: watch},

		"TenantService.GetLimits": {request: always(&flotillav1.GetLimitsRequest{}), needs: read, anybody: "SDKs cut their requests to size by the limits"},
		"TenantService.GetUsage":  administers(&flotillav1.GetUsageRequest{}),
		"TenantService.CreateNamespaces": {request: func() proto.Message {
			return &flotillav1.CreateNamespacesRequest{Names: []string{fmt.Sprintf("walked-%d", fresh.Add(1))}}
		}, needs: tenancy.ActionAdmin, tenant: true},
		"TenantService.ListNamespaces":   administers(&flotillav1.ListNamespacesRequest{}),
		"TenantService.DeleteNamespaces": administers(&flotillav1.DeleteNamespacesRequest{Names: []string{"none"}}),
		"TenantService.CreateAPIKey":     administers(&flotillav1.CreateAPIKeyRequest{}),
		"TenantService.ListAPIKeys":      administers(&flotillav1.ListAPIKeysRequest{}),
		"TenantService.RotateAPIKey":     administers(&flotillav1.RotateAPIKeyRequest{Id: noSuchID}),
		"TenantService.RevokeAPIKey":     administers(&flotillav1.RevokeAPIKeyRequest{Id: noSuchID}),
		"TenantService.SetIssuer": administers(&flotillav1.SetIssuerRequest{Issuer: &flotillav1.Issuer{
			Name: "walked", Issuer: "https://issuer.example", Rules: []*flotillav1.IssuerRule{{
				Claims: map[string]string{"sub": "x"}, Permissions: []*flotillav1.Permission{{Actions: []flotillav1.Action{flotillav1.Action_ACTION_READ}}},
			}},
		}}),
		"TenantService.ListIssuers":  administers(&flotillav1.ListIssuersRequest{}),
		"TenantService.DeleteIssuer": administers(&flotillav1.DeleteIssuerRequest{Name: "none"}),

		"AuthService.ExchangeToken": {request: always(&flotillav1.ExchangeTokenRequest{}), needs: read, anybody: "a token allows no more than its key"},
	}
}

// TestAPIWalkWrongCredentials calls every procedure by every protocol with each
// credential that is none.
func TestAPIWalkWrongCredentials(t *testing.T) {
	t.Parallel()
	table, methods := walkAPI(), methodsOf("flotilla.v1")
	known(t, table, methods)
	wrong := wrongOf(t, newTenant(t))
	for _, method := range methods {
		row := table[string(method.Parent().Name())+"."+string(method.Name())]
		for _, protocol := range protocolsOf(shared.node.APIURL(), newPlace()) {
			if !protocol.speaks(method) {
				continue
			}
			for name, credential := range wrong {
				requireVerdict(t, unauthenticated, protocol, method, protocol.name+" with "+name, credential, row.request())
			}
		}
	}
}

// TestAPIWalkPermissions calls every procedure with credentials that allow just it,
// and with those that allow all but it.
func TestAPIWalkPermissions(t *testing.T) {
	t.Parallel()
	w := newWalker(t)
	_, err := as(w.tenant.key).kv.Put(t.Context(), &flotillav1.PutRequest{Key: walkKey()})
	require.NoError(t, err)
	table := walkAPI()
	for _, method := range methodsOf("flotilla.v1") {
		name := string(method.Parent().Name()) + "." + string(method.Name())
		row := table[name]
		for _, protocol := range protocolsOf(shared.node.APIURL(), "") {
			switch {
			case !protocol.speaks(method):
			case name == "AuthService.ExchangeToken":
				requireVerdict(t, served, protocol, method, "a key", w.tenant.key, row.request())
				for i, credential := range w.credentials(t, row.enough()) {
					requireVerdict(t, []verdict{served, denied}[i], protocol, method, "a key, a token", credential, row.request())
				}
			case row.anybody != "":
				for name, permissions := range row.short() {
					for _, credential := range w.credentials(t, permissions) {
						requireVerdict(t, served, protocol, method, name, credential, row.request())
					}
				}
			default:
				w.permissions(t, protocol, method, row)
			}
		}
	}
}
