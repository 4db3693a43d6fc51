package placement_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/placement"
	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

const removed = internalv1.NodeState_NODE_STATE_REMOVED

// doors answers at peer addresses.
type doors map[string]*internalv1.HelloResponse

func (d doors) hello(_ context.Context, address string, _ *internalv1.HelloRequest) (*internalv1.HelloResponse, error) {
	if answer, ok := d[address]; ok {
		return answer, nil
	}
	return nil, errors.New("nobody answers")
}

// joiners is a cluster of one node, without the parts that would change its
// records, and who is where.
type joiners struct {
	t       *testing.T
	catalog *catalog.Catalog
	doors   doors
	service *placement.Membership
}

func newJoiners(t *testing.T) *joiners {
	t.Helper()
	c := newCluster(t)
	n := c.open(nodeID(1), "n1", "", nil)
	require.NoError(t, startSystem(c, n))
	j := &joiners{t: t, catalog: n.catalog, doors: doors{}}
	self := placement.Self{ClusterID: clusterID, NodeID: n.id, BootID: n.boot}
	j.service = placement.NewMembership(self, n.catalog, n.directory, j.doors.hello, time.Now, c.log)
	j.doors["n1:1"] = &internalv1.HelloResponse{NodeId: n.id, BootId: n.boot}
	return j
}

// joining is a request with one process's boot id.
func joining(id, name, boot string) placement.Joining {
	return placement.Joining{ClusterID: clusterID, NodeID: id, Node: &internalv1.NodeRecord{
		Name: name, PeerAddress: name + ":1", RaftAddress: name + ":2", Hosts: true, Level: 1, BootId: boot,
	}}
}

// join joins, and from then on answers at its address.
func (j *joiners) join(req placement.Joining) *internalv1.Directory {
	j.t.Helper()
	directory, err := j.service.Join(j.t.Context(), req)
	require.NoError(j.t, err)
	j.doors[req.Node.GetPeerAddress()] = &internalv1.HelloResponse{NodeId: req.NodeID, BootId: req.Node.GetBootId()}
	return directory
}

func (j *joiners) refused(req placement.Joining, final bool, says string) {
	j.t.Helper()
	before, err := j.catalog.Records(j.t.Context())
	require.NoError(j.t, err)
	_, err = j.service.Join(j.t.Context(), req)
	_, refused := errors.AsType[*placement.RefusedError](err)
	require.Equal(j.t, final, refused, "%v", err)
	require.ErrorContains(j.t, err, says)
	after, err := j.catalog.Records(j.t.Context())
	require.NoError(j.t, err)
	require.True(j.t, proto.Equal(before.Directory, after.Directory), "a refusal changes nothing")
}

func TestJoin(t *testing.T) {
	t.Parallel()
	j := newJoiners(t)
	d := j.join(joining("b", "n2", "boot-b"))
	node := d.GetNodes()["b"]
	require.Equal(t, internalv1.NodeState_NODE_STATE_ACTIVE, node.GetState())
	require.NotZero(t, node.GetJoinTimeMs())
	require.Equal(t, "n2:1", node.GetPeerAddress())
	require.Len(t, d.GetPlacements(), 1)
	require.Equal(t, clusterID, d.GetCluster().GetClusterId())

	again := j.join(joining("b", "n2", "boot-b"))
	require.True(t, proto.Equal(d, again), "to ask again changes nothing")

	require.NoError(t, j.catalog.Drain(t.Context(), "b", ""))
	delete(j.doors, "n2:1")
	restart := joining("b", "n2", "boot-b2")
	restart.Node.PeerAddress, restart.Node.Version = "moved:1", "v2"
	d = j.join(restart)
	require.Equal(t, internalv1.NodeState_NODE_STATE_ACTIVE, d.GetNodes()["b"].GetState(), "it has started, so it does not drain any more")
	require.Equal(t, "moved:1", d.GetNodes()["b"].GetPeerAddress())
	require.Equal(t, "boot-b2", d.GetNodes()["b"].GetBootId())
	require.Equal(t, node.GetJoinTimeMs(), d.GetNodes()["b"].GetJoinTimeMs())

	hello, err := j.service.Hello(t.Context(), &internalv1.HelloRequest{})
	require.NoError(t, err)
	require.Equal(t, clusterID, hello.GetClusterId())
	require.Equal(t, nodeID(1), hello.GetNodeId())
	require.InDelta(t, time.Now().UnixMicro(), hello.GetTimeUs(), 1e7)
}

func TestJoinIsRefused(t *testing.T) {
	t.Parallel()
	j := newJoiners(t)
	j.join(joining("b", "n2", "boot-b"))

	foreign := joining("c", "n3", "boot-c")
	foreign.ClusterID = "another"
	j.refused(foreign, true, "use an empty directory")
	old := joining("c", "n3", "boot-c")
	old.Node.Level, old.Node.Version = 0, "v0"
	j.refused(old, true, "upgrade the node")
	j.refused(joining("c", "n2", "boot-c"), true, "choose another name")
	j.refused(joining("b", "n2", "copy"), true, "was copied")

	for field, req := range map[string]placement.Joining{
		"node_id":      joining("", "n3", "boot"),
		"a slash":      joining("c/d", "n3", "boot"),
		"name":         {ClusterID: clusterID, NodeID: "c", Node: &internalv1.NodeRecord{BootId: "b", PeerAddress: "a:1"}},
		"boot_id":      joining("c", "n3", ""),
		"peer_address": {ClusterID: clusterID, NodeID: "c", Node: &internalv1.NodeRecord{BootId: "b", Name: "c"}},
		"raft_address": {ClusterID: clusterID, NodeID: "c", Node: &internalv1.NodeRecord{BootId: "b", Name: "c", PeerAddress: "a:1", Hosts: true}},
	} {
		j.refused(req, true, field)
	}
	long := joining("c", "n3", "boot")
	long.Node.ApiUrl = string(make([]byte, 513))
	j.refused(long, true, "api_url has 513 bytes")
}

// Who comes under the name of a node that is dead, or with its disk wiped, takes its
// place. The earlier one may never come back.
func TestJoinInPlaceOfAnother(t *testing.T) {
	t.Parallel()
	j := newJoiners(t)
	j.join(joining("b", "n2", "boot-b"))
	lease, err := j.catalog.GrantLiveLease(t.Context(), 10*time.Second)
	require.NoError(t, err)
	require.NoError(t, j.catalog.ShowLive(t.Context(), "b", "boot-b", lease))

	// It answers nowhere, but its sign of life is fresh.
	moved := joining("c", "n2", "boot-c")
	moved.Node.PeerAddress = "moved:1"
	delete(j.doors, "n2:1")
	j.refused(moved, false, "signs of life")
	// The one that comes is at its address: it was started again.
	j.doors["n2:1"] = &internalv1.HelloResponse{BootId: "boot-c"}
	d := j.join(joining("c", "n2", "boot-c"))
	require.Equal(t, removed, d.GetNodes()["b"].GetState())
	require.NotZero(t, d.GetNodes()["b"].GetDeadSinceMs())
	require.Equal(t, internalv1.NodeState_NODE_STATE_ACTIVE, d.GetNodes()["c"].GetState())
	j.refused(joining("b", "n2", "boot-b3"), true, "start with an empty data directory")
	// And dead, without a sign of life.
	delete(j.doors, "n2:1")
	moved.NodeID, moved.Node.BootId = "d", "boot-d"
	d = j.join(moved)
	require.Equal(t, removed, d.GetNodes()["c"].GetState())
}

// Nodes that were removed long ago are forgotten, the first first, but none that has
// replicas.
func TestJoinForgets(t *testing.T) {
	t.Parallel()
	j := newJoiners(t)
	records, err := j.catalog.Records(t.Context())
	require.NoError(t, err)
	change := records.Change()
	for n := range 110 {
		change.PutNode(fmt.Sprintf("old-%03d", n), &internalv1.NodeRecord{State: removed, JoinTimeMs: uint64(1 + n)})
	}
	change.PutPlacement(2, &internalv1.PlacementRecord{Replicas: []*internalv1.ReplicaRecord{{ReplicaId: 1, NodeId: "old-003"}}})
	require.NoError(t, j.catalog.Commit(t.Context(), change))
	d := j.join(joining("b", "n2", "boot-b"))
	require.Len(t, d.GetNodes(), 1+1+1+100)
	for id, kept := range map[string]bool{"old-000": false, "old-003": true, "old-009": false, "old-010": true, "old-109": true, "b": true} {
		require.Equal(t, kept, d.GetNodes()[id] != nil, id)
	}
}

// Two that come at once under one name do not both get it.
func TestJoinAtOnce(t *testing.T) {
	t.Parallel()
	j := newJoiners(t)
	j.join(joining("b", "n2", "boot-b"))
	j.join(joining("c", "n3", "boot-c"))
	// Both have read the records when they ask who is where.
	var both sync.WaitGroup
	both.Add(2)
	self := placement.Self{ClusterID: clusterID, NodeID: nodeID(1)}
	service := placement.NewMembership(self, j.catalog, catalog.NewDirectory(), func(_ context.Context, address string, _ *internalv1.HelloRequest) (*internalv1.HelloResponse, error) {
		if address == "n2:1" || address == "n3:1" {
			both.Done()
			both.Wait()
		}
		return nil, errors.New("nobody answers")
	}, time.Now, slog.New(slog.DiscardHandler))
	errs := make(chan error)
	for _, id := range []string{"b", "c"} {
		go func() {
			req := joining(id, "twin", "boot-again-"+id)
			req.Node.PeerAddress = id + ":1"
			_, err := service.Join(t.Context(), req)
			errs <- err
		}()
	}
	require.NoError(t, errors.Join(<-errs, <-errs), "nobody answers, so the second takes the first one's place")
	records, err := j.catalog.Records(t.Context())
	require.NoError(t, err)
	states := map[internalv1.NodeState]int{}
	for _, id := range []string{"b", "c"} {
		states[records.Directory.GetNodes()[id].GetState()]++
	}
	require.Equal(t, map[internalv1.NodeState]int{internalv1.NodeState_NODE_STATE_ACTIVE: 1, removed: 1}, states)
}
