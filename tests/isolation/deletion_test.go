package isolation

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// TestDeletedTenantsLeaveNothing deletes a tenant for good, and makes another one of
// its name, which finds nothing of it.
func TestDeletedTenantsLeaveNothing(t *testing.T) {
	t.Parallel()
	a, operators := newTenant(t), admin(shared.owner)
	former := newActor(t, a)
	for _, s := range script("belongs-to-a")[:33] {
		former.do(t, s)
	}
	token := exchange(t, a.key, &flotillav1.ExchangeTokenRequest{})
	i := newIssuer(t)
	_, err := as(a.key).tenants.SetIssuer(t.Context(), &flotillav1.SetIssuerRequest{Issuer: i.record})
	require.NoError(t, err)
	ofIssuer := i.token(t, a.name, "job-1", time.Hour)
	route, err := shared.node.Catalog().Route(t.Context(), tenancy.TenantID(a.name), "default")
	require.NoError(t, err)

	_, err = operators.DeleteTenant(t.Context(), &adminv1.DeleteTenantRequest{Tenant: a.name, Grace: durationpb.New(0)})
	require.NoError(t, err)
	_, err = operators.ResumeTenant(t.Context(), &adminv1.ResumeTenantRequest{Tenant: a.name})
	require.Error(t, err, "there is no grace")
	require.Eventually(t, func() bool {
		_, err := operators.GetTenant(t.Context(), &adminv1.GetTenantRequest{Tenant: a.name})
		return err != nil
	}, waitMax, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		left, err := shared.node.Catalog().Purges(t.Context(), 1000)
		for _, p := range left {
			if p.Namespace == route.Namespace {
				return false
			}
		}
		return err == nil
	}, waitMax, 10*time.Millisecond, "its data is not removed")

	b := createTenant(t, &adminv1.NewTenant{Name: a.name, Plan: "unlimited"})
	next := newActor(t, b)
	for _, s := range []step{
		call("KVService.Range", &flotillav1.RangeRequest{}),
		call("KVService.Get", &flotillav1.GetRequest{Key: []byte("app/a")}),
		call("LeaseService.ListLeases", &flotillav1.ListLeasesRequest{}),
		call("LeaseService.GetLease", &flotillav1.GetLeaseRequest{Id: 7}),
		call("TenantService.ListIssuers", &flotillav1.ListIssuersRequest{}),
		call("TenantService.ListNamespaces", &flotillav1.ListNamespacesRequest{}),
		call("TenantService.ListAPIKeys", &flotillav1.ListAPIKeysRequest{}),
	} {
		require.NotContains(t, next.do(t, s), "belongs-to-a", s.method)
	}
	empty, err := as(b.key).kv.Range(t.Context(), &flotillav1.RangeRequest{})
	require.NoError(t, err)
	require.Equal(t, uint64(1), empty.GetRevision())
	require.Empty(t, empty.GetKvs())
	keys, err := as(b.key).tenants.ListAPIKeys(t.Context(), &flotillav1.ListAPIKeysRequest{})
	require.NoError(t, err)
	require.Len(t, keys.GetApiKeys(), 1)
	wrong := overConnect{"Connect", shared.node.APIURL(), "proto", nil, http1(newPlace())}
	get, _ := methodNamed("KVService.Get")
	for name, credential := range map[string]string{"the former key": a.key, "its token": token, "its issuer's": ofIssuer} {
		requireVerdict(t, unauthenticated, wrong, get, name, credential, &flotillav1.GetRequest{Key: []byte("app/a")})
	}
}

// TestDeletedNamespacesLeaveNothing deletes a namespace that is watched, and makes
// another one of its name.
func TestDeletedNamespacesLeaveNothing(t *testing.T) {
	t.Parallel()
	a := newTenant(t)
	s := as(a.key)
	const ns = "other"
	_, err := s.leases.GrantLease(t.Context(), &flotillav1.GrantLeaseRequest{Namespace: ns, Id: 7, Ttl: durationpb.New(time.Hour)})
	require.NoError(t, err)
	_, err = s.kv.Put(t.Context(), &flotillav1.PutRequest{Namespace: ns, Key: walkKey(), Lease: 7, RequestId: "id"})
	require.NoError(t, err)
	stream, err := s.watches.WatchOne(t.Context(), &flotillav1.WatchOneRequest{Watch: &flotillav1.WatchCreate{
		Namespace: ns, Target: &flotillav1.WatchCreate_Key{Key: walkKey()},
	}})
	require.NoError(t, err)
	require.True(t, stream.Receive())

	_, err = s.tenants.DeleteNamespaces(t.Context(), &flotillav1.DeleteNamespacesRequest{Names: []string{ns}})
	require.NoError(t, err)
	_, err = s.kv.Get(t.Context(), &flotillav1.GetRequest{Namespace: ns, Key: walkKey()})
	require.ErrorContains(t, err, "the namespace does not exist")
	_, err = s.tenants.CreateNamespaces(t.Context(), &flotillav1.CreateNamespacesRequest{Names: []string{ns}})
	require.NoError(t, err)
	found, err := s.kv.Range(t.Context(), &flotillav1.RangeRequest{Namespace: ns})
	require.NoError(t, err)
	require.Empty(t, found.GetKvs())
	require.Equal(t, uint64(1), found.GetRevision())
	leases, err := s.leases.ListLeases(t.Context(), &flotillav1.ListLeasesRequest{Namespace: ns})
	require.NoError(t, err)
	require.Empty(t, leases.GetIds())
	put, err := s.kv.Put(t.Context(), &flotillav1.PutRequest{Namespace: ns, Key: walkKey(), RequestId: "id"})
	require.NoError(t, err)
	require.Equal(t, uint64(2), put.GetRevision(), "a request id of the former one is none of this one")

	var told *flotillav1.WatchResponse
	for stream.Receive() {
		told = stream.Msg().GetWatch()
		require.Empty(t, told.GetEvents(), "a watch of the former one sees the new one")
	}
	reason := told.GetError().GetInfo().GetReason()
	if stream.Err() != nil {
		require.ErrorContains(t, stream.Err(), "namespace")
	} else {
		require.Equal(t, flotillav1.Reason_REASON_NAMESPACE_NOT_FOUND, reason)
	}
}
