package isolation

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// TestNothingIsToldOfOthers has one tenant call every procedure of both ports, and
// then another one do the same beside a third, which has things of the same names
// and ids and goes on writing to them. All that the two are told is the same, byte
// for byte; and what the third has is as it was.
func TestNothingIsToldOfOthers(t *testing.T) {
	t.Parallel()
	const marked, own = "belongs-to-a", "belongs-to-b"
	steps := script(own)
	called := make(map[string]step)
	for _, s := range steps {
		called[s.method] = s
	}
	known(t, called, append(methodsOf("flotilla.v1"), etcdMethods...))

	alone := newActor(t, newTenant(t))
	var want []string
	for _, s := range steps {
		want = append(want, alone.do(t, s))
	}
	other := newActor(t, newTenant(t))
	for _, s := range script(marked) {
		if !strings.HasPrefix(s.method, "TenantService.Delete") && !strings.HasPrefix(s.method, "KVService.Delete") && s.method != "LeaseService.RevokeLease" {
			other.do(t, s)
		}
	}
	before := other.possessions(t)
	require.Contains(t, before, marked)
	stop := other.noise(t)
	beside := newActor(t, newTenant(t))
	for i, s := range steps {
		got := beside.do(t, s)
		require.NotContains(t, got, marked, s.method)
		if s.varies == "" {
			require.Equal(t, want[i], got, "step %d, %s", i, s.method)
		}
	}
	stop()
	require.Equal(t, before, other.possessions(t), "what another tenant has was changed")
}

// noise writes to a namespace that is compared with nothing, and watches, until it
// is told to stop.
func (a *actor) noise(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	for i := range 4 {
		writing.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				_, err := as(a.tenant.key).kv.Put(ctx, &flotillav1.PutRequest{
					Namespace: "other", Key: []byte("app/a"), Value: fmt.Appendf(nil, "belongs-to-a %d", n), RequestId: fmt.Sprint(i, n),
				})
				if err != nil && ctx.Err() == nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	return func() { cancel(); writing.Wait() }
}

// possessions is all that a tenant has, but for the namespace of noise.
func (a *actor) possessions(t *testing.T) string {
	t.Helper()
	list := []step{
		call("TenantService.ListNamespaces", &flotillav1.ListNamespacesRequest{}),
		call("TenantService.ListAPIKeys", &flotillav1.ListAPIKeysRequest{}),
		call("TenantService.ListIssuers", &flotillav1.ListIssuersRequest{}),
		call("Lease.LeaseLeases", &pb.LeaseLeasesRequest{}),
		call("LeaseService.GetLease", &flotillav1.GetLeaseRequest{Id: 7, Keys: true}),
	}
	for _, ns := range []string{"default", "a", "a-b", "zone"} {
		list = append(list, call("KVService.Range", &flotillav1.RangeRequest{Namespace: ns}),
			call("LeaseService.ListLeases", &flotillav1.ListLeasesRequest{Namespace: ns}))
	}
	var text strings.Builder
	for _, s := range list {
		text.WriteString(a.do(t, s) + "\n")
	}
	return text.String()
}
