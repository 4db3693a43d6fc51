package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
	"github.com/flotillakv/flotilla/tests/process"
)

const leaseService = "flotilla.v1.LeaseService/"

// TestLeaseJSON speaks to the service by hand, and sends it what it cannot do.
func TestLeaseJSON(t *testing.T) {
	t.Parallel()
	c := curlOf(process.Dev(t))
	var granted struct{ ID, TTL string }
	c.post(t, leaseService+"GrantLease", `{"ttl":"30s"}`).ok(t).decode(t, &granted)
	require.Equal(t, "30s", granted.TTL)
	c.post(t, kvService+"Put", `{"key":"aw==","lease":"`+granted.ID+`"}`).ok(t)
	var got struct {
		GrantedTTL, RemainingTTL string
		Keys                     []string
	}
	c.post(t, leaseService+"GetLease", `{"id":"`+granted.ID+`","keys":true}`).ok(t).decode(t, &got)
	require.Equal(t, "30s", got.GrantedTTL)
	remaining, err := time.ParseDuration(got.RemainingTTL)
	require.NoError(t, err)
	require.LessOrEqual(t, remaining, 30*time.Second)
	require.Equal(t, []string{"aw=="}, got.Keys)
	var kept struct{ Leases []struct{ ID, TTL string } }
	c.post(t, leaseService+"KeepAlive", `{"ids":["`+granted.ID+`","1"]}`).ok(t).decode(t, &kept)
	require.Equal(t, []struct{ ID, TTL string }{{granted.ID, "30s"}, {"1", "0s"}}, kept.Leases)

	c.post(t, leaseService+"GrantLease", `{"ttl":"60s","id":"7"}`).ok(t)
	tooMany := `{"ids":[` + strings.Repeat(`"1",`, 10_000) + `"1"]}`
	invalid := flotillav1.Reason_REASON_INVALID_FIELD
	for name, tt := range map[string]struct {
		procedure, body, code string
		reason                flotillav1.Reason
	}{
		"no TTL":             {"GrantLease", `{}`, "invalid_argument", invalid},
		"TTL of 0":           {"GrantLease", `{"ttl":"0s"}`, "invalid_argument", invalid},
		"negative TTL":       {"GrantLease", `{"ttl":"-1s"}`, "invalid_argument", invalid},
		"TTL too large":      {"GrantLease", `{"ttl":"9000000001s"}`, "invalid_argument", invalid},
		"TTL of no meaning":  {"GrantLease", `{"ttl":"1 hour"}`, "invalid_argument", flotillav1.Reason_REASON_UNSPECIFIED},
		"negative id":        {"GrantLease", `{"ttl":"1s","id":"-7"}`, "invalid_argument", invalid},
		"id in use":          {"GrantLease", `{"ttl":"1s","id":"7"}`, "already_exists", flotillav1.Reason_REASON_LEASE_EXISTS},
		"unknown namespace":  {"GrantLease", `{"ttl":"1s","namespace":"none"}`, "not_found", flotillav1.Reason_REASON_NAMESPACE_NOT_FOUND},
		"request id":         {"GrantLease", `{"ttl":"1s","requestId":"` + strings.Repeat("x", 65) + `"}`, "invalid_argument", flotillav1.Reason_REASON_TOO_LARGE},
		"no ids":             {"KeepAlive", `{}`, "invalid_argument", invalid},
		"too many ids":       {"KeepAlive", tooMany, "invalid_argument", flotillav1.Reason_REASON_TOO_LARGE},
		"revoke without id":  {"RevokeLease", `{}`, "invalid_argument", invalid},
		"revoke unknown":     {"RevokeLease", `{"id":"99"}`, "not_found", flotillav1.Reason_REASON_LEASE_NOT_FOUND},
		"get unknown":        {"GetLease", `{"id":"99"}`, "not_found", flotillav1.Reason_REASON_LEASE_NOT_FOUND},
		"get without id":     {"GetLease", `{}`, "invalid_argument", invalid},
		"negative page":      {"ListLeases", `{"afterId":"-1"}`, "invalid_argument", invalid},
		"page too large":     {"ListLeases", `{"limit":10001}`, "invalid_argument", flotillav1.Reason_REASON_TOO_LARGE},
		"unknown field":      {"GrantLease", `{"ttl":"1s","tll":"2s"}`, "invalid_argument", flotillav1.Reason_REASON_UNSPECIFIED},
		"id that is a float": {"GetLease", `{"id":1.5}`, "invalid_argument", flotillav1.Reason_REASON_UNSPECIFIED},
	} {
		t.Run(name, func(t *testing.T) {
			c.post(t, leaseService+tt.procedure, tt.body).refusedRPC(t, tt.code, tt.reason)
		})
	}
	var revoked struct{ Deleted string }
	c.post(t, leaseService+"RevokeLease", `{"id":"`+granted.ID+`"}`).ok(t).decode(t, &revoked)
	require.Equal(t, "1", revoked.Deleted)
	c.post(t, kvService+"Put", `{"key":"aw==","lease":"`+granted.ID+`"}`).
		refusedRPC(t, "not_found", flotillav1.Reason_REASON_LEASE_NOT_FOUND)
}

// TestLeasesOfTheSDK holds leases in two namespaces as a program does.
func TestLeasesOfTheSDK(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	client := node.Client(t)
	ctx := t.Context()
	require.NoError(t, client.CreateNamespaces(ctx, "other"))
	ns, other := client.Namespace("default"), client.Namespace("other")

	lease, err := ns.Leases.Hold(ctx, time.Second, &flotilla.GrantOptions{ID: 7})
	require.NoError(t, err)
	_, err = other.Leases.Grant(ctx, 1500*time.Millisecond, &flotilla.GrantOptions{ID: 7})
	require.NoError(t, err, "another namespace's ids are its own")
	_, err = ns.Leases.Hold(ctx, time.Second, &flotilla.GrantOptions{ID: 7})
	require.ErrorIs(t, err, flotilla.ErrLeaseExists)
	for _, n := range []*flotilla.Namespace{ns, other} {
		_, err = n.KV.Put(ctx, "k", nil, &flotilla.PutOptions{Lease: 7})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { // the one that nobody keeps alive
		_, err := other.Leases.Get(ctx, 7, nil)
		return err != nil
	}, 20*time.Second, 10*time.Millisecond)
	_, err = other.Leases.Get(ctx, 7, nil)
	require.ErrorIs(t, err, flotilla.ErrLeaseNotFound)
	_, err = other.KV.Get(ctx, "k", nil)
	require.ErrorIs(t, err, flotilla.ErrKeyNotFound)
	info, err := ns.Leases.Get(ctx, 7, &flotilla.GetLeaseOptions{Keys: true})
	require.NoError(t, err)
	require.Equal(t, []string{"k"}, info.Keys)
	require.NoError(t, lease.Err())

	again, err := ns.Leases.Resume(ctx, 7)
	require.NoError(t, err)
	held, cancel := again.Context(ctx)
	defer cancel()
	require.NoError(t, lease.Revoke(ctx))
	<-held.Done()
	require.ErrorIs(t, context.Cause(held), flotilla.ErrLeaseNotFound, "told to who else holds it")
	require.NoError(t, lease.Err(), "who revoked it has not lost it")
	_, err = ns.Leases.Resume(ctx, 7)
	require.ErrorIs(t, err, flotilla.ErrLeaseNotFound)
}

func TestLeasesAreListedInPages(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	leases := node.Client(t).Namespace("default").Leases
	api := flotillav1connect.NewLeaseServiceClient(http.DefaultClient, node.Info.APIURL, connect.WithInterceptors(process.Bearer(node.Info.APIKey)))
	for id := range int64(5) {
		_, err := leases.Grant(t.Context(), time.Hour, &flotilla.GrantOptions{ID: id + 1})
		require.NoError(t, err)
	}
	page, err := api.ListLeases(t.Context(), &flotillav1.ListLeasesRequest{AfterId: 1, Limit: 3})
	require.NoError(t, err)
	require.Equal(t, []int64{2, 3, 4}, page.GetIds())
	require.True(t, page.GetMore())
	var all []int64
	for id, err := range leases.List(t.Context()) {
		require.NoError(t, err)
		all = append(all, id)
	}
	require.Equal(t, []int64{1, 2, 3, 4, 5}, all)
}

// TestKeepAliveStream sends a stream of renewals good and bad requests. A bad
// one ends its stream after the answers to those before it, and no other.
func TestKeepAliveStream(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	admin := node.Client(t)
	key, secret, err := admin.CreateAPIKey(t.Context(), flotilla.APIKeySpec{Description: "to be revoked"})
	require.NoError(t, err)
	_, err = admin.Namespace("default").Leases.Grant(t.Context(), time.Hour, &flotilla.GrantOptions{ID: 7})
	require.NoError(t, err)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	api := flotillav1connect.NewLeaseServiceClient(&http.Client{Transport: &http.Transport{Protocols: protocols}},
		node.Info.APIURL, connect.WithInterceptors(process.Bearer(secret)))
	open := func() *connect.BidiStreamForClientSimple[flotillav1.KeepAliveStreamRequest, flotillav1.KeepAliveStreamResponse] {
		stream, err := api.KeepAliveStream(t.Context())
		require.NoError(t, err)
		return stream
	}
	renew := func(ids ...int64) *flotillav1.KeepAliveStreamRequest {
		return &flotillav1.KeepAliveStreamRequest{KeepAlive: &flotillav1.KeepAliveRequest{Ids: ids}}
	}
	bystander := open()
	for name, bad := range map[string]*flotillav1.KeepAliveStreamRequest{
		"nothing": {}, "no ids": renew(), "too many": renew(make([]int64, 10_001)...),
		"no such namespace": {KeepAlive: &flotillav1.KeepAliveRequest{Namespace: "none", Ids: []int64{7}}},
	} {
		stream := open()
		for i := range int64(200) {
			require.NoError(t, stream.Send(renew(7, 8, i+1000)), name)
		}
		require.NoError(t, stream.Send(bad), name)
		for i := range int64(200) {
			message, err := stream.Receive()
			require.NoError(t, err, name)
			leases := message.GetKeepAlive().GetLeases()
			require.Equal(t, i+1000, leases[2].GetId(), "in the order of the requests")
			require.Equal(t, []time.Duration{time.Hour, 0}, []time.Duration{leases[0].GetTtl().AsDuration(), leases[1].GetTtl().AsDuration()})
		}
		_, err := stream.Receive()
		require.Error(t, err, name)
		require.NotEqual(t, connect.CodeInternal, connect.CodeOf(err), "%s: %v", name, err)
		require.NoError(t, stream.CloseResponse())
	}
	require.NoError(t, bystander.Send(renew(7)))
	_, err = bystander.Receive()
	require.NoError(t, err)
	require.NoError(t, admin.RevokeAPIKey(t.Context(), key.ID))
	_ = bystander.Send(renew(7)) // the stream may have ended already
	_, err = bystander.Receive()
	require.Equal(t, connect.CodeUnauthenticated, connect.CodeOf(err), "%v", err)
}

func TestLeaseCommands(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	home := node.Home
	granted := home.Run(t, "lease", "grant", "1h")
	require.Zero(t, granted.Code, granted.Stderr)
	id := strings.TrimSpace(granted.Stdout)
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"lease grant 1h --id 7 -o json", done, `{"id":"7","ttl":"1h0m0s"}`},
		{"lease grant 1h --id 7", failed, "exists"},
		{"lease grant 0s", usage, "ttl"},
		{"lease grant soon", usage, "the TTL"},
		{"kv put k v --lease 7", done, "revision 2"},
		{"kv put k w --keep-lease", done, "revision 3"},
		{"kv put k w --keep-lease --lease 7", usage, "lease"},
		{"kv put k v --lease 99", notFound, "lease"},
		{"kv get k -o json", done, `"lease":"7"`},
		{"lease get 7 --keys", done, "of 1h0m0s\nk\n"},
		{"lease get 7 --keys -o json", done, `"keys":["k"]`},
		{"lease get x", usage, `"x"`},
		{"lease get 99", notFound, "lease"},
		{"lease list", done, id},
		{"lease keep-alive --once 7", done, "lasts 1h0m0s"},
		{"lease keep-alive 99", notFound, "lease"},
		{"lease revoke 7", done, "deleted 1, revision 4"},
		{"lease revoke 7", notFound, "lease"},
		{"kv get k", notFound, "k"},
	} {
		got := home.Run(t, strings.Fields(tt.args)...)
		require.Equal(t, tt.code, got.Code, "%s: %s%s", tt.args, got.Stdout, got.Stderr)
		require.Contains(t, got.Stdout+got.Stderr, tt.want, tt.args)
	}
	var info struct {
		RemainingTTL string `json:"remaining_ttl"`
	}
	require.NoError(t, json.Unmarshal([]byte(home.Run(t, "lease", "get", id, "-o", "json").Stdout), &info))
	remaining, err := time.ParseDuration(info.RemainingTTL)
	require.NoError(t, err)
	require.LessOrEqual(t, remaining, time.Hour)
}

// TestEndOfALeaseIsWatched sees the keys of a lease go in one revision: as it
// happens, and later from the history.
func TestEndOfALeaseIsWatched(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	ns := node.Client(t).Namespace("default")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lease, err := ns.Leases.Grant(ctx, time.Second, nil)
	require.NoError(t, err)
	var last uint64
	for _, key := range []string{"b", "a", "c"} {
		put, err := ns.KV.Put(ctx, key, []byte("v"), &flotilla.PutOptions{Lease: lease.ID})
		require.NoError(t, err)
		last = put.Revision
	}
	for _, when := range []string{"as it happens", "from the history"} {
		for batch, err := range ns.KV.WatchBatches(ctx, flotilla.AllKeys(), &flotilla.WatchOptions{From: last + 1, PrevKV: true}) {
			require.NoError(t, err, when)
			if len(batch.Events) == 0 {
				continue // progress
			}
			var gone []string
			for _, e := range batch.Events {
				require.True(t, e.Deleted, when)
				require.Equal(t, last+1, e.KV.ModRevision, when)
				require.Equal(t, lease.ID, e.PrevKV.Lease, when)
				gone = append(gone, e.KV.Key)
			}
			require.Equal(t, []string{"a", "b", "c"}, gone, when)
			break
		}
	}
}
