package conformance

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/tests/process"
)

// testCase is something that is done to both sides alike. Its keys begin with a
// prefix of its own.
type testCase struct {
	name string
	run  func(t *testing.T, w *world)
	// differs is why the sides do not answer alike; empty for those that must.
	// It is a line of docs/etcd.md.
	differs string
}

// group is cases that share an etcd and a namespace. They run one after the
// other.
type group struct {
	name  string
	cases []testCase
}

// world is one side as a case sees it.
type world struct {
	transcript
	side side
	ctx  context.Context //nolint:containedctx // it lives as long as its test
	// client is clientv3; the others are etcd's RPCs without anything between.
	client *clientv3.Client
	kv     pb.KVClient
}

func newWorld(t *testing.T, s side, client *clientv3.Client, prefix string) *world {
	t.Helper()
	w := &world{
		transcript: transcript{prefix: prefix}, side: s, ctx: callContext(t), client: client,
		kv: pb.NewKVClient(client.ActiveConnection()),
	}
	w.begin(t)
	return w
}

// begin makes the present revision the one that others are relative to.
func (w *world) begin(t *testing.T) {
	t.Helper()
	now, err := w.client.Get(w.ctx, "nothing")
	require.NoError(t, err)
	w.base = now.Header.GetRevision()
}

// key is a key of the case.
func (w *world) key(name string) string { return w.prefix + name }

func (w *world) bytes(name string) []byte { return []byte(w.prefix + name) }

// put writes keys, given as key=value.
func (w *world) put(t *testing.T, pairs ...string) {
	t.Helper()
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		_, err := w.client.Put(w.ctx, w.key(key), value)
		require.NoError(t, err)
	}
}

// call runs an RPC and notes its answer.
func call[Q, A proto.Message](w *world, what string, rpc func(context.Context, Q) (A, error), request Q) A {
	response, err := rpc(w.ctx, request)
	w.answer(what, response, err)
	return response
}

// rawKV are the RPCs of KV without options.
func (w *world) rangeRPC(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	return w.kv.Range(ctx, r)
}

func (w *world) putRPC(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	return w.kv.Put(ctx, r)
}

func (w *world) deleteRPC(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	return w.kv.DeleteRange(ctx, r)
}

func (w *world) txnRPC(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	return w.kv.Txn(ctx, r)
}

func (w *world) compactRPC(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	return w.kv.Compact(ctx, r)
}

// run runs a group on both sides and compares.
func (g group) run(t *testing.T, node *process.Process) {
	t.Helper()
	t.Parallel()
	sides := []side{startEtcd(t), newNamespace(t, node, g.name)}
	clients := []*clientv3.Client{sides[0].connect(t), sides[1].connect(t)}
	for _, c := range g.cases {
		t.Run(c.name, func(t *testing.T) {
			var saw [2][]string
			for i, s := range sides {
				w := newWorld(t, s, clients[i], g.name+"/"+c.name+"/")
				c.run(t, w)
				saw[i] = w.lines
			}
			require.NotEmpty(t, saw[0], "the case notes nothing")
			want, got := strings.Join(saw[0], "\n"), strings.Join(saw[1], "\n")
			if c.differs != "" {
				require.NotEqual(t, want, got, "this difference is gone: %s", c.differs)
				return
			}
			require.Equal(t, want, got, "etcd is expected, flotilla is actual")
		})
	}
}

// TestConformance compares everything.
func TestConformance(t *testing.T) {
	t.Parallel()
	tool(t, "etcdctl") // building takes longer than a case may
	node := startFlotilla(t)
	for _, g := range []group{
		{"kv", kvCases()},
		{"range", rangeCases()},
		{"txn", txnCases()},
		{"lease", leaseCases()},
		{"watch", watchCases()},
		{"service", serviceCases()},
		{"library", libraryCases()},
		{"etcdctl", etcdctlCases()},
		{"kubernetes", kubernetesCases()},
	} {
		t.Run(g.name, func(t *testing.T) { g.run(t, node) })
	}
}
