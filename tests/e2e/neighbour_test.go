package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

// TestLoudNeighbours has one tenant flood at far more than its limit and one read all
// it has, again and again, beside a quiet one. The flood is let in as its limit says,
// and told why it is refused; no call of the quiet one fails. How much slower these
// are is what tests/bench measures. The limit is so low that a busy machine reaches it
// too, if not at once.
func TestLoudNeighbours(t *testing.T) {
	t.Parallel()
	const limit, atLeast, atMost = 20, 3 * time.Second, time.Minute
	node := process.Dev(t)
	clients := newTenants(t, node,
		&adminv1.NewTenant{Name: "quiet"},
		&adminv1.NewTenant{Name: "flood", Limits: &flotillav1.Limits{RequestsPerSecond: limit, RequestsBurst: limit}},
		&adminv1.NewTenant{Name: "ranges", Plan: "unlimited"},
	)
	quiet, flood, ranges := clients[0], clients[1], clients[2]
	for i := range 20 {
		var txn flotilla.Txn
		for j := range 100 {
			txn.Then = append(txn.Then, flotilla.OpPut(fmt.Sprint(100*i+j), make([]byte, 256), nil))
		}
		_, err := ranges.Txn(t.Context(), txn)
		require.NoError(t, err)
	}

	ctx, stop := context.WithCancel(t.Context())
	var loud sync.WaitGroup
	var letIn, refused atomic.Int64
	for i := range 16 {
		loud.Go(func() {
			for ctx.Err() == nil {
				_, err := flood.Put(ctx, fmt.Sprint(i), nil, nil)
				switch e, _ := err.(*flotilla.Error); { //nolint:errorlint // the type that is promised
				case err == nil:
					letIn.Add(1)
				case ctx.Err() != nil:
				case e == nil || e.Reason != flotillav1.Reason_REASON_QUOTA_EXCEEDED || e.Metadata["limit"] != "requests_per_second" ||
					e.Metadata["value"] != fmt.Sprint(limit) || e.RetryAfter <= 0:
					t.Errorf("flood: %v", err)
					return
				default:
					refused.Add(1)
				}
			}
		})
	}
	for range 4 {
		loud.Go(func() {
			for ctx.Err() == nil {
				for _, err := range ranges.Range(ctx, flotilla.KeyRange{}, nil) {
					if err != nil && ctx.Err() == nil {
						t.Errorf("ranges: %v", err)
						return
					}
				}
			}
		})
	}
	began := time.Now()
	for i := 0; time.Since(began) < atLeast || refused.Load() == 0 && time.Since(began) < atMost; i++ {
		_, err := quiet.Put(ctx, fmt.Sprint(i%100), []byte("value"), nil)
		require.NoError(t, err)
		_, err = quiet.Get(ctx, fmt.Sprint(i%100), nil)
		require.NoError(t, err)
	}
	took := time.Since(began)
	stop()
	loud.Wait()
	require.Positive(t, refused.Load())
	most := limit + limit*(took.Seconds()+0.5)
	require.LessOrEqual(t, float64(letIn.Load()), 1.05*most)
	require.GreaterOrEqual(t, float64(letIn.Load()), limit*1.0)
}

// newTenants creates tenants as an operator, and returns the key space of each.
// Nothing that is refused is tried again.
func newTenants(t *testing.T, node *process.Process, list ...*adminv1.NewTenant) []*flotilla.KV {
	t.Helper()
	token, err := os.ReadFile(node.Info.OperatorFile)
	require.NoError(t, err)
	operator := adminv1connect.NewAdminServiceClient(http.DefaultClient, node.Info.OpsURL,
		connect.WithInterceptors(process.Bearer(strings.TrimSpace(string(token)))))
	made, err := operator.CreateTenants(t.Context(), &adminv1.CreateTenantsRequest{Tenants: list})
	require.NoError(t, err)
	var all []*flotilla.KV
	for _, one := range made.GetResults() {
		require.Nil(t, one.GetError())
		client, err := flotilla.New(flotilla.Config{URL: node.Info.APIURL, APIKey: one.GetSecret(), AttemptsMax: 1})
		require.NoError(t, err)
		t.Cleanup(func() { _ = client.Close() }) // of no interest
		all = append(all, client.Namespace("default").KV)
	}
	return all
}
