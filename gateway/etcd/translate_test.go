package etcd

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

func TestKeyRange(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ key, end, in, out string }{
		"one key":      {"a", "", "a", "a\x00"},
		"range":        {"a", "c", "b", "c"},
		"prefix":       {"a", "b", "a\xff", "b"},
		"from a key":   {"b", "\x00", "\xff\xff", "a"},
		"everything":   {"\x00", "\x00", "\x00", ""},
		"empty":        {"b", "b", "", "b"},
		"backwards":    {"c", "a", "", "b"},
		"one zero key": {"\x00", "", "\x00", "\x00\x00"},
	} {
		start, end, empty := mvcc.Bounds(oneOrRange([]byte(tt.key), []byte(tt.end)))
		holds := func(key string) bool {
			return !empty && key >= string(start) && (len(end) == 0 || key < string(end))
		}
		if tt.in != "" {
			require.True(t, holds(tt.in), name)
		}
		if tt.out != "" {
			require.False(t, holds(tt.out), name)
		}
	}
}

// fakeNode tells a term and nothing else.
type fakeNode struct{ Node }

func (fakeNode) Term(shards.ShardID) uint64 { return 7 }

func newTestServer() (*Server, *caller) {
	s := &Server{node: fakeNode{}, identity: newIdentity("cluster", "node")}
	return s, &caller{place: catalog.Route{Namespace: 1024, Shard: 2}}
}

// TestNumbersStay derives the numbers of clusters and members from ids alone.
func TestNumbersStay(t *testing.T) {
	t.Parallel()
	a, b := newIdentity("c1", "n1"), newIdentity("c1", "n2")
	require.Equal(t, a, newIdentity("c1", "n1"))
	require.NotEqual(t, a.member, b.member)
	seen := make(map[uint64]tenancy.NamespaceID)
	for ns := range tenancy.NamespaceID(10_000) {
		number := a.clusterOf(ns)
		require.NotZero(t, number)
		require.Equal(t, number, b.clusterOf(ns), "every node tells the same cluster")
		_, twice := seen[number]
		require.False(t, twice)
		seen[number] = ns
	}
	require.NotEqual(t, a.clusterOf(1), newIdentity("c2", "n1").clusterOf(1))
}

// TestEncodedEvents compares the answer that is put together from encoded events
// with the same message encoded whole.
func TestEncodedEvents(t *testing.T) {
	t.Parallel()
	s, c := newTestServer()
	w := &watchStream{Server: s, caller: c}
	written := &watch.Event{Revision: 9, Key: []byte("k"), Version: mvcc.Version{CreateRevision: 5, Version: 3, Lease: 4, Value: []byte("v")}}
	deleted := &watch.Event{Revision: 10, Key: []byte("d"), Version: mvcc.Version{Tombstone: true}}
	large := &watch.Event{Revision: 11, Key: []byte("l"), Version: mvcc.Version{CreateRevision: 11, Version: 1, Value: make([]byte, sharedBytesMin)}}
	for _, a := range []watch.Answer{
		{Revision: 10, Events: []*watch.Event{written, deleted}},
		{WatchID: 12, Revision: 9, Latest: 20, Fragment: true, Events: []*watch.Event{written}},
		{Revision: 11, Events: []*watch.Event{large, written, large, large, deleted}},
		{WatchID: -5, Revision: 10, PrevKV: true, Events: []*watch.Event{deleted}},
	} {
		want := &pb.WatchResponse{Header: s.header(c, uint64(max(a.Revision, a.Latest))), WatchId: a.WatchID, Fragment: a.Fragment}
		for _, e := range a.Events {
			event := &mvccpb.Event{Kv: keyValue(e.KeyValue())}
			if e.IsDelete() {
				event.Type = mvccpb.Event_DELETE
			}
			want.Events = append(want.Events, event)
		}
		got := new(pb.WatchResponse)
		encoded := w.encode(&a)
		require.NoError(t, proto.Unmarshal(slices.Concat(encoded...), got))
		require.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
	}
}

// TestLargeEventsAreNotCopied encodes the same event for two streams.
func TestLargeEventsAreNotCopied(t *testing.T) {
	t.Parallel()
	large := &watch.Event{Revision: 11, Key: []byte("l"), Version: mvcc.Version{CreateRevision: 11, Version: 1, Value: make([]byte, sharedBytesMin)}}
	a := &watch.Answer{Revision: 11, Events: []*watch.Event{large}}
	var one, other encoder
	require.Same(t, &one.encode(a)[1][0], &other.encode(a)[1][0])
}

// TestCodecPassesEncodedMessages sends what was encoded before as it is, and
// all else as grpc does.
func TestCodecPassesEncodedMessages(t *testing.T) {
	t.Parallel()
	c := newCodec()
	sent, err := c.Marshal(encodedMessage{[]byte("head,"), []byte("events")})
	require.NoError(t, err)
	require.Equal(t, "head,events", string(sent.Materialize()))
	message := &pb.PutRequest{Key: []byte("k")}
	sent, err = c.Marshal(message)
	require.NoError(t, err)
	got := new(pb.PutRequest)
	require.NoError(t, c.Unmarshal(sent, got))
	require.True(t, proto.Equal(message, got))
}
