package isolation

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flotillakv/flotilla/proto/gen/etcd/v3electionpb"
	"github.com/flotillakv/flotilla/proto/gen/etcd/v3lockpb"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// step is one call of a script.
type step struct {
	// method is such as "KVService.Put"; those of etcd's services are on its port.
	method   string
	requests []proto.Message
	// varies says why the answer is not compared.
	varies string
}

func call(method string, requests ...proto.Message) step {
	return step{method: method, requests: requests}
}

// script is calls of a tenant to every procedure of its two ports, in an order in
// which each has something to tell. All tenants use the same names, keys and ids;
// mark is in the values, of which all have the same length.
func script(mark string) []step {
	key, value := func(name string) []byte { return []byte("app/" + name) }, []byte(mark)
	all := &flotillav1.KeyRange{Prefix: []byte("app/")}
	put := func(name string) *flotillav1.PutRequest {
		return &flotillav1.PutRequest{Key: key(name), Value: value, RequestId: "request-" + name, PrevKv: true}
	}
	op := func(p *flotillav1.PutRequest) *flotillav1.Operation {
		return &flotillav1.Operation{Id: 1, Operation: &flotillav1.Operation_Put{Put: p}}
	}
	issuer := &flotillav1.Issuer{Name: "ci", Issuer: "https://ci.example", Rules: []*flotillav1.IssuerRule{{
		Claims: map[string]string{"sub": mark}, Permissions: []*flotillav1.Permission{{Actions: []flotillav1.Action{flotillav1.Action_ACTION_READ}}},
	}}}
	var steps []step
	add := func(more ...step) { steps = append(steps, more...) }
	add(
		call("TenantService.GetLimits", &flotillav1.GetLimitsRequest{}),
		call("TenantService.CreateNamespaces", &flotillav1.CreateNamespacesRequest{Names: []string{"a", "a-b", "zone"}}),
		call("TenantService.CreateNamespaces", &flotillav1.CreateNamespacesRequest{Names: []string{"a"}}),
		call("TenantService.ListNamespaces", &flotillav1.ListNamespacesRequest{PageSize: 2}),
		call("TenantService.ListNamespaces", &flotillav1.ListNamespacesRequest{PageToken: "a-b"}),
		call("TenantService.SetIssuer", &flotillav1.SetIssuerRequest{Issuer: issuer}),
		call("TenantService.ListIssuers", &flotillav1.ListIssuersRequest{}),
		call("TenantService.CreateAPIKey", &flotillav1.CreateAPIKeyRequest{Description: mark, ExpireTime: timestamppb.New(time.Now().Add(time.Hour))}),
		call("TenantService.ListAPIKeys", &flotillav1.ListAPIKeysRequest{}),
		call("TenantService.RotateAPIKey", &flotillav1.RotateAPIKeyRequest{Id: noSuchID}),
		call("TenantService.RevokeAPIKey", &flotillav1.RevokeAPIKeyRequest{Id: noSuchID}),
		call("AuthService.ExchangeToken", &flotillav1.ExchangeTokenRequest{}),

		call("LeaseService.GrantLease", &flotillav1.GrantLeaseRequest{Id: 7, Ttl: durationpb.New(time.Hour)}),
		call("LeaseService.GrantLease", &flotillav1.GrantLeaseRequest{Id: 7, Ttl: durationpb.New(time.Hour)}),
		call("KVService.Put", put("a")), call("KVService.Put", put("a")), call("KVService.Put", put("b")),
		call("KVService.Put", &flotillav1.PutRequest{Key: key("leased"), Value: value, Lease: 7}),
		call("KVService.Put", &flotillav1.PutRequest{Key: key("leased"), Value: value, Lease: 8}),
		call("KVService.Get", &flotillav1.GetRequest{Key: key("a")}),
		call("KVService.Get", &flotillav1.GetRequest{Key: key("a"), Revision: 99}),
		call("KVService.Get", &flotillav1.GetRequest{Key: key("a"), Namespace: "none"}),
		call("KVService.Txn", &flotillav1.TxnRequest{
			Compare: []*flotillav1.Compare{compareKey(key("c"))}, Success: []*flotillav1.TxnOperation{inTxn(op(put("d")))},
			Failure: []*flotillav1.TxnOperation{inTxn(op(put("c")))},
		}),
		call("KVService.Range", &flotillav1.RangeRequest{Keys: &flotillav1.KeyRange{}, CountTotal: true}),
		call("KVService.RangeStream", &flotillav1.RangeStreamRequest{Range: &flotillav1.RangeRequest{Keys: all, Limit: 2}}),
		call("KVService.Batch", &flotillav1.BatchRequest{Operations: []*flotillav1.Operation{op(put("e"))}}),
		call("KVService.Pipeline", &flotillav1.PipelineRequest{Operations: []*flotillav1.Operation{op(put("f"))}}),
		call("WatchService.Watch", watchCreate(&flotillav1.WatchCreate{Target: &flotillav1.WatchCreate_Range{Range: all}, PrevKv: true}),
			&flotillav1.WatchRequest{Request: &flotillav1.WatchRequest_Progress{Progress: &flotillav1.WatchProgress{WatchId: 1}}}),
		call("WatchService.WatchOne", &flotillav1.WatchOneRequest{Watch: &flotillav1.WatchCreate{
			Target: &flotillav1.WatchCreate_Range{Range: &flotillav1.KeyRange{}}, StartRevision: 2,
		}}),
		call("LeaseService.GetLease", &flotillav1.GetLeaseRequest{Id: 7, Keys: true}),
		call("LeaseService.GetLease", &flotillav1.GetLeaseRequest{Id: 8}),
		call("LeaseService.ListLeases", &flotillav1.ListLeasesRequest{}),
		call("LeaseService.KeepAlive", &flotillav1.KeepAliveRequest{Ids: []int64{7, 8}}),
		call("LeaseService.KeepAliveStream", &flotillav1.KeepAliveStreamRequest{KeepAlive: &flotillav1.KeepAliveRequest{Ids: []int64{7, 8}}}),
		call("KVService.Compact", &flotillav1.CompactRequest{Revision: 3}),
		call("KVService.Delete", &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: key("f")}, PrevKv: true}),
	)
	add(etcdScript(mark)...)
	add(
		call("LeaseService.RevokeLease", &flotillav1.RevokeLeaseRequest{Id: 7}),
		call("LeaseService.RevokeLease", &flotillav1.RevokeLeaseRequest{Id: 7}),
		call("KVService.Delete", &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Range{Range: &flotillav1.KeyRange{}}}),
		call("TenantService.DeleteIssuer", &flotillav1.DeleteIssuerRequest{Name: "ci"}),
		call("TenantService.DeleteNamespaces", &flotillav1.DeleteNamespacesRequest{Names: []string{"a", "zone"}}),
		call("TenantService.DeleteNamespaces", &flotillav1.DeleteNamespacesRequest{Names: []string{"a"}}),
		call("TenantService.ListNamespaces", &flotillav1.ListNamespacesRequest{}),
		step{"TenantService.GetUsage", []proto.Message{&flotillav1.GetUsageRequest{}}, "it is counted in the background"},
	)
	return steps
}

func watchCreate(c *flotillav1.WatchCreate) *flotillav1.WatchRequest {
	return &flotillav1.WatchRequest{Request: &flotillav1.WatchRequest_Create{Create: c}}
}

// etcdScript is the part of script that is on the etcd port.
func etcdScript(mark string) []step {
	key, end, value := []byte("app/"), []byte("app0"), []byte(mark)
	queue, candidate := []byte("queue"), []byte("candidate")
	leader := &v3electionpb.LeaderKey{Name: candidate, Key: []byte("candidate/7"), Rev: 99, Lease: 7}
	steps := []step{
		call("KV.Put", &pb.PutRequest{Key: []byte("app/etcd"), Value: value, PrevKv: true}),
		call("KV.Range", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}),
		call("KV.Range", &pb.RangeRequest{Key: key, Revision: 99}),
		call("KV.RangeStream", &pb.RangeRequest{Key: key, RangeEnd: end}),
		call("KV.Txn", &pb.TxnRequest{Success: []*pb.RequestOp{etcdPut(&pb.PutRequest{Key: []byte("app/txn"), Value: value})}}),
		call("KV.DeleteRange", &pb.DeleteRangeRequest{Key: []byte("app/b"), PrevKv: true}),
		call("KV.Compact", &pb.CompactionRequest{Revision: 4}),
		call("Watch.Watch", &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: key, RangeEnd: end}}},
			&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}),
		call("Lease.LeaseGrant", &pb.LeaseGrantRequest{ID: 9, TTL: 3600}),
		call("Lease.LeaseGrant", &pb.LeaseGrantRequest{ID: 7, TTL: 3600}),
		call("Lease.LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: 7}, &pb.LeaseKeepAliveRequest{ID: 8}),
		call("Lease.LeaseLeases", &pb.LeaseLeasesRequest{}),
		{"Lease.LeaseTimeToLive", []proto.Message{&pb.LeaseTimeToLiveRequest{ID: 7, Keys: true}}, "time passes"},
		call("Lease.LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 8, Keys: true}),
		call("Lease.LeaseRevoke", &pb.LeaseRevokeRequest{ID: 9}), call("Lease.LeaseRevoke", &pb.LeaseRevokeRequest{ID: 9}),
		call("Lock.Lock", &v3lockpb.LockRequest{Name: queue, Lease: 7}),
		call("Lock.Unlock", &v3lockpb.UnlockRequest{Key: []byte("queue/7")}),
		call("Election.Leader", &v3electionpb.LeaderRequest{Name: candidate}),
		call("Election.Campaign", &v3electionpb.CampaignRequest{Name: candidate, Lease: 7, Value: value}),
		call("Election.Leader", &v3electionpb.LeaderRequest{Name: candidate}),
		call("Election.Observe", &v3electionpb.LeaderRequest{Name: candidate}),
		call("Election.Proclaim", &v3electionpb.ProclaimRequest{Leader: leader, Value: value}),
		call("Election.Resign", &v3electionpb.ResignRequest{Leader: leader}),
		call("Cluster.MemberList", &pb.MemberListRequest{}),
		call("Maintenance.Status", &pb.StatusRequest{}),
		call("Maintenance.Alarm", &pb.AlarmRequest{}),
		call("Maintenance.Hash", &pb.HashRequest{}),
		call("Maintenance.HashKV", &pb.HashKVRequest{}),
		call("Maintenance.Snapshot", &pb.SnapshotRequest{}),
		call("Maintenance.Defragment", &pb.DefragmentRequest{}),
		call("Auth.Authenticate", &pb.AuthenticateRequest{Name: noSuchID, Password: mark}),
		call("Auth.AuthStatus", &pb.AuthStatusRequest{}),
	}
	for name, row := range walkEtcd() {
		if row.nobody != "" {
			steps = append(steps, call(name, row.request()))
		}
	}
	return steps
}

// actor carries out steps as a tenant.
type actor struct {
	tenant *tenant
	api    overConnect
	etcd   overGRPC
}

func newActor(t *testing.T, a *tenant) *actor {
	t.Helper()
	return &actor{tenant: a, api: overConnect{"Connect over HTTP 2", shared.node.APIURL(), "proto", nil, http2("")}, etcd: dialEtcd(t, "")}
}

// do carries out one step, and returns what the tenant is told.
func (a *actor) do(t *testing.T, s step) string {
	t.Helper()
	method, ok := methodNamed(s.method)
	require.True(t, ok, "there is no procedure %s", s.method)
	var port caller = a.etcd
	if method.ParentFile().Package() == "flotilla.v1" {
		port = a.api
	}
	return fmt.Sprintf("%s: %s", s.method, port.call(t.Context(), method, a.tenant.key, s.requests...).text(a.tenant.name))
}

func methodNamed(name string) (protoreflect.MethodDescriptor, bool) {
	for _, method := range append(methodsOf("flotilla.v1"), etcdMethods...) {
		if string(method.Parent().Name())+"."+string(method.Name()) == name {
			return method, true
		}
	}
	return nil, false
}
