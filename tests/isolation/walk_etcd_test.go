package isolation

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/proto/gen/etcd/v3electionpb"
	"github.com/flotillakv/flotilla/proto/gen/etcd/v3lockpb"
	"github.com/flotillakv/flotilla/tenancy"
)

func endOf(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}

// walkEtcd says who may call which procedure of the etcd port.
func walkEtcd() map[string]walked {
	key, end := walkKey(), endOf(walkPrefix)
	leased := func(m proto.Message) walked { return walked{request: always(m), needs: lease, whole: true} }
	anybody := func(m proto.Message, why string) walked { return walked{request: always(m), anybody: why} }
	nobody := func(m proto.Message) walked {
		return walked{request: always(m), nobody: "it is the platform's, or API keys do it"}
	}
	leader := &v3electionpb.LeaderKey{Name: key, Key: key, Rev: 1, Lease: 1}
	const own = "it tells of the namespace as a whole, and of the platform"
	queue := func() []byte { return fmt.Appendf(nil, "%squeue-%d", walkPrefix, fresh.Add(1)) }
	return map[string]walked{
		"KV.Range":       {request: always(&pb.RangeRequest{Key: []byte(walkPrefix), RangeEnd: end}), needs: read},
		"KV.RangeStream": {request: always(&pb.RangeRequest{Key: []byte(walkPrefix), RangeEnd: end}), needs: read},
		"KV.Put":         {request: always(&pb.PutRequest{Key: key}), needs: write},
		"KV.DeleteRange": {request: always(&pb.DeleteRangeRequest{Key: []byte(walkPrefix + "gone"), RangeEnd: end}), needs: write},
		"KV.Txn": {request: always(&pb.TxnRequest{
			Compare: []*pb.Compare{{Key: key, Target: pb.Compare_VERSION}}, Success: []*pb.RequestOp{etcdPut(&pb.PutRequest{Key: key})},
		}), needs: read | write},
		"KV.Compact": {request: always(&pb.CompactionRequest{Revision: 2}), needs: write, whole: true},
		"Watch.Watch": {request: always(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: []byte(walkPrefix), RangeEnd: end},
		}}), needs: watch},

		"Lease.LeaseGrant":      leased(&pb.LeaseGrantRequest{TTL: 60}),
		"Lease.LeaseRevoke":     leased(&pb.LeaseRevokeRequest{ID: 1}),
		"Lease.LeaseKeepAlive":  leased(&pb.LeaseKeepAliveRequest{ID: 1}),
		"Lease.LeaseTimeToLive": leased(&pb.LeaseTimeToLiveRequest{ID: 1, Keys: true}),
		"Lease.LeaseLeases":     leased(&pb.LeaseLeasesRequest{}),

		// Without a lease of their own callers get one, which takes the permission
		// for all keys: see TestEtcdQueuesWalk for the rest.
		"Lock.Lock":         {request: func() proto.Message { return &v3lockpb.LockRequest{Name: queue()} }, needs: lease | read | write, whole: true},
		"Lock.Unlock":       {request: always(&v3lockpb.UnlockRequest{Key: key}), needs: write},
		"Election.Campaign": {request: func() proto.Message { return &v3electionpb.CampaignRequest{Name: queue()} }, needs: lease | read | write, whole: true},
		"Election.Proclaim": {request: always(&v3electionpb.ProclaimRequest{Leader: leader}), needs: read | write},
		"Election.Leader":   {request: always(&v3electionpb.LeaderRequest{Name: []byte(walkPrefix + "elected")}), needs: read},
		"Election.Observe":  {request: always(&v3electionpb.LeaderRequest{Name: []byte(walkPrefix + "elected")}), needs: read},
		"Election.Resign":   {request: always(&v3electionpb.ResignRequest{Leader: leader}), needs: read | write},

		"Cluster.MemberList":     anybody(&pb.MemberListRequest{}, "clients look there for the addresses of nodes"),
		"Cluster.MemberAdd":      nobody(&pb.MemberAddRequest{}),
		"Cluster.MemberRemove":   nobody(&pb.MemberRemoveRequest{}),
		"Cluster.MemberUpdate":   nobody(&pb.MemberUpdateRequest{}),
		"Cluster.MemberPromote":  nobody(&pb.MemberPromoteRequest{}),
		"Maintenance.Alarm":      anybody(&pb.AlarmRequest{}, own),
		"Maintenance.Status":     anybody(&pb.StatusRequest{}, own),
		"Maintenance.Defragment": anybody(&pb.DefragmentRequest{}, "it does nothing"),
		"Maintenance.Hash":       {request: always(&pb.HashRequest{}), needs: read, whole: true},
		"Maintenance.HashKV":     {request: always(&pb.HashKVRequest{}), needs: read, whole: true},
		"Maintenance.Snapshot":   {request: always(&pb.SnapshotRequest{}), needs: read | lease, whole: true},
		"Maintenance.MoveLeader": nobody(&pb.MoveLeaderRequest{}),
		"Maintenance.Downgrade":  nobody(&pb.DowngradeRequest{}),

		"Auth.Authenticate":         {request: always(&pb.AuthenticateRequest{}), public: "it is where callers say who they are"},
		"Auth.AuthStatus":           anybody(&pb.AuthStatusRequest{}, "it is always on"),
		"Auth.AuthEnable":           nobody(&pb.AuthEnableRequest{}),
		"Auth.AuthDisable":          nobody(&pb.AuthDisableRequest{}),
		"Auth.UserAdd":              nobody(&pb.AuthUserAddRequest{}),
		"Auth.UserGet":              nobody(&pb.AuthUserGetRequest{}),
		"Auth.UserList":             nobody(&pb.AuthUserListRequest{}),
		"Auth.UserDelete":           nobody(&pb.AuthUserDeleteRequest{}),
		"Auth.UserChangePassword":   nobody(&pb.AuthUserChangePasswordRequest{}),
		"Auth.UserGrantRole":        nobody(&pb.AuthUserGrantRoleRequest{}),
		"Auth.UserRevokeRole":       nobody(&pb.AuthUserRevokeRoleRequest{}),
		"Auth.RoleAdd":              nobody(&pb.AuthRoleAddRequest{}),
		"Auth.RoleGet":              nobody(&pb.AuthRoleGetRequest{}),
		"Auth.RoleList":             nobody(&pb.AuthRoleListRequest{}),
		"Auth.RoleDelete":           nobody(&pb.AuthRoleDeleteRequest{}),
		"Auth.RoleGrantPermission":  nobody(&pb.AuthRoleGrantPermissionRequest{}),
		"Auth.RoleRevokePermission": nobody(&pb.AuthRoleRevokePermissionRequest{}),
	}
}

var etcdMethods = methodsOf("etcdserverpb", "v3lockpb", "v3electionpb")

// TestEtcdWalkWrongCredentials calls every procedure with each credential that is
// none.
func TestEtcdWalkWrongCredentials(t *testing.T) {
	t.Parallel()
	table := walkEtcd()
	known(t, table, etcdMethods)
	wrong := wrongOf(t, newTenant(t))
	for _, method := range etcdMethods {
		row := table[string(method.Parent().Name())+"."+string(method.Name())]
		conn := dialEtcd(t, newPlace())
		for name, credential := range wrong {
			for _, token := range []string{credential, credential + "@default"} {
				requireVerdict(t, unauthenticated, conn, method, name, token, row.request())
			}
		}
	}
}

// TestEtcdWalkPermissions calls every procedure with credentials that allow just it,
// and with those that allow all but it.
func TestEtcdWalkPermissions(t *testing.T) {
	t.Parallel()
	w, conn := newWalker(t), dialEtcd(t, "")
	owner := withToken(t.Context(), w.tenant.key)
	for _, key := range []string{"k", "elected/1"} {
		_, err := pb.NewKVClient(conn.conn).Put(owner, &pb.PutRequest{Key: []byte(walkPrefix + key)})
		require.NoError(t, err)
	}
	table := walkEtcd()
	for _, method := range etcdMethods {
		if row := table[string(method.Parent().Name())+"."+string(method.Name())]; row.public == "" {
			w.permissions(t, conn, method, row)
		}
	}
}

// TestEtcdServices finds out what the port serves: what the walk does not know must
// be public, for a reason.
func TestEtcdServices(t *testing.T) {
	t.Parallel()
	stream, err := reflection.NewServerReflectionClient(dialEtcd(t, "").conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_ListServices{}}))
	listed, err := stream.Recv()
	require.NoError(t, err)
	walked := make(map[string]bool)
	for _, method := range etcdMethods {
		walked[string(method.Parent().FullName())] = true
	}
	public := []string{
		"grpc.health.v1.Health",                    // load balancers ask it
		"grpc.reflection.v1.ServerReflection",      // it tells of messages, and is served if it is asked for
		"grpc.reflection.v1alpha.ServerReflection", // likewise
	}
	require.NotEmpty(t, listed.GetListServicesResponse().GetService())
	for _, service := range listed.GetListServicesResponse().GetService() {
		require.True(t, walked[service.GetName()] || slices.Contains(public, service.GetName()), "nobody walks %s", service.GetName())
	}
}

func etcdPut(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func etcdTxn(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

// TestEtcdTransactionsWalk does each operation in each part of a transaction, with
// credentials that allow just it, and with those that allow all but it.
func TestEtcdTransactionsWalk(t *testing.T) {
	t.Parallel()
	w, conn := newWalker(t), dialEtcd(t, "")
	key, end := walkKey(), endOf(walkPrefix)
	then := func(op *pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: []*pb.RequestOp{op}} }
	otherwise := func(op *pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Failure: []*pb.RequestOp{op}} }
	remove := func(r *pb.DeleteRangeRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
	}
	for what, operation := range map[string]struct {
		op    *pb.RequestOp
		needs tenancy.Action
	}{
		"range":           {&pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(walkPrefix), RangeEnd: end, CountOnly: true}}}, read},
		"put":             {etcdPut(&pb.PutRequest{Key: key}), write},
		"put and tell":    {etcdPut(&pb.PutRequest{Key: key, PrevKv: true}), read | write},
		"delete":          {remove(&pb.DeleteRangeRequest{Key: key}), write},
		"delete and tell": {remove(&pb.DeleteRangeRequest{Key: []byte(walkPrefix), RangeEnd: end, PrevKv: true}), read | write},
		"compare":         {etcdTxn(&pb.TxnRequest{Compare: []*pb.Compare{{Key: key, Target: pb.Compare_VALUE}}}), read},
		"compare a range": {etcdTxn(&pb.TxnRequest{Compare: []*pb.Compare{{Key: []byte(walkPrefix), RangeEnd: end, Target: pb.Compare_VALUE}}}), read},
	} {
		for where, request := range map[string]*pb.TxnRequest{
			"the branch that is taken":        then(operation.op),
			"the branch that is not":          otherwise(operation.op),
			"a txn in the branch taken":       then(etcdTxn(otherwise(operation.op))),
			"a txn in the branch that is not": otherwise(etcdTxn(then(operation.op))),
		} {
			t.Run(what+" in "+where, func(t *testing.T) {
				w.permissions(t, conn, etcdMethods[methodIndex("Txn")], walked{request: always(request), needs: operation.needs})
			})
		}
	}
}

func methodIndex(name string) int {
	for i, method := range etcdMethods {
		if string(method.Name()) == name {
			return i
		}
	}
	return -1
}

// TestEtcdQueuesWalk takes locks and campaigns on a lease that there is, which takes
// the keys under the name alone.
func TestEtcdQueuesWalk(t *testing.T) {
	t.Parallel()
	w, conn := newWalker(t), dialEtcd(t, "")
	granted, err := pb.NewLeaseClient(conn.conn).LeaseGrant(withToken(t.Context(), w.tenant.key), &pb.LeaseGrantRequest{TTL: 600})
	require.NoError(t, err)
	name := []byte(walkPrefix + "queue")
	for method, request := range map[string]proto.Message{
		"Lock":     &v3lockpb.LockRequest{Name: name, Lease: granted.GetID()},
		"Campaign": &v3electionpb.CampaignRequest{Name: name, Lease: granted.GetID()},
	} {
		w.permissions(t, conn, etcdMethods[methodIndex(method)], walked{request: always(request), needs: read | write})
	}
}
