package etcd

import (
	"cmp"
	"context"
	"hash/crc32"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// maintenanceServer serves etcdserverpb.Maintenance for one namespace at a
// time. What is about the platform itself is not the tenants' to do.
type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	*Server
}

// storageVersion is the version of etcd whose files snapshots are.
const storageVersion = "3.7.0"

// quotaBytesDefault is what Status tells as the quota of a namespace without one:
// etcd's own default.
const quotaBytesDefault = 2 << 30

// Status implements Maintenance. Sizes are those of the namespace's keys and newest
// values. As the index of the log, which the shard's namespaces share, its revision is
// told: the index would tell how much the others write.
func (s *maintenanceServer) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	c := callerFrom(ctx)
	state, err := s.kv.State(ctx, c.namespace, shards.Serializable)
	if err != nil {
		return nil, err
	}
	replica, here := s.node.ShardStatus(c.place.Shard)
	response := &pb.StatusResponse{
		Header: s.header(c, uint64(state.Revision)), Version: version.Version, StorageVersion: storageVersion,
		DbSize: int64(state.LiveBytes), DbSizeInUse: int64(state.LiveBytes),
		DbSizeQuota: int64(cmp.Or(c.principal.Limits.StoredBytesMax, quotaBytesDefault)),
		RaftIndex:   uint64(state.Revision), RaftAppliedIndex: uint64(state.Revision), RaftTerm: replica.Term,
		DowngradeInfo: &pb.DowngradeInfo{},
	}
	switch {
	case !here: // it is read through nodes that have a replica
		response.Leader = s.identity.member
	case replica.LeaderNode != "":
		response.Leader = memberOf(replica.LeaderNode)
	default:
		response.Errors = append(response.Errors, "etcdserver: no leader")
	}
	for _, alarm := range s.alarms(c, state) {
		response.Errors = append(response.Errors, alarm.String())
	}
	return response, nil
}

// alarms are those that are on for the caller: NOSPACE while writes are refused for
// want of disk, or his namespace holds all that it may.
func (s *maintenanceServer) alarms(c *caller, state mvcc.State) []*pb.AlarmMember {
	limits := &c.principal.Limits
	full := limits.StoredBytesMax > 0 && state.LiveBytes >= uint64(limits.StoredBytesMax) ||
		limits.KeysMax > 0 && state.Keys >= uint64(limits.KeysMax)
	if !full && !s.node.ReadOnly() {
		return nil
	}
	return []*pb.AlarmMember{{MemberID: s.identity.member, Alarm: pb.AlarmType_NOSPACE}}
}

// Alarm implements Maintenance. Alarms come and go by themselves: raising one
// is refused, and disarming one changes nothing.
func (s *maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	c := callerFrom(ctx)
	state, err := s.kv.State(ctx, c.namespace, shards.Serializable)
	if err != nil {
		return nil, err
	}
	response := &pb.AlarmResponse{Header: s.header(c, uint64(state.Revision))}
	switch r.GetAction() {
	case pb.AlarmRequest_GET:
		for _, alarm := range s.alarms(c, state) {
			if r.GetAlarm() == pb.AlarmType_NONE || r.GetAlarm() == alarm.GetAlarm() {
				response.Alarms = append(response.Alarms, alarm)
			}
		}
	case pb.AlarmRequest_ACTIVATE:
		return nil, status.Error(codes.Unimplemented, "flotilla: alarms are not raised by clients: they tell the state of the node and of the namespace")
	case pb.AlarmRequest_DEACTIVATE:
	}
	return response, nil
}

// Defragment implements Maintenance: there is nothing to do, storage compacts
// itself.
func (s *maintenanceServer) Defragment(ctx context.Context, _ *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	return &pb.DefragmentResponse{Header: s.header(callerFrom(ctx), 0)}, nil
}

// Hash implements Maintenance: the hash of the namespace at its newest
// revision.
func (s *maintenanceServer) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	hashed, err := s.HashKV(ctx, new(pb.HashKVRequest))
	if err != nil {
		return nil, err
	}
	return &pb.HashResponse{Header: hashed.GetHeader(), Hash: hashed.GetHash()}, nil
}

// HashKV implements Maintenance: CRC-32C over the keys that exist at a revision,
// each as a length and an encoded KeyValue. It is the same on every node, and
// not the number that etcd computes.
func (s *maintenanceServer) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	c := callerFrom(ctx)
	state, err := s.kv.State(ctx, c.namespace, shards.Linearizable)
	if err != nil {
		return nil, err
	}
	at := revisionOf(r.GetRevision())
	if at == 0 {
		at = uint64(state.Revision)
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	var encoded []byte
	err = s.kv.Pages(ctx, &flotillav1.RangeRequest{Namespace: c.namespace, Revision: at}, func(page *flotillav1.RangeResponse) error {
		for _, kv := range page.GetKvs() {
			var err error
			if encoded, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(encoded[:0], keyValue(kv)); err != nil {
				return err
			}
			_, _ = sum.Write([]byte{byte(len(encoded)), byte(len(encoded) >> 8), byte(len(encoded) >> 16)})
			_, _ = sum.Write(encoded)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &pb.HashKVResponse{
		Header: s.header(c, uint64(state.Revision)), Hash: sum.Sum32(), HashRevision: int64(at),
		CompactRevision: compactRevision(state),
	}, nil
}

// compactRevision is as etcd tells it: -1 while nothing was compacted.
func compactRevision(state mvcc.State) int64 {
	if state.CompactRevision == 0 {
		return -1
	}
	return int64(state.CompactRevision)
}

// MoveLeader implements Maintenance: it is refused.
func (*maintenanceServer) MoveLeader(context.Context, *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	return nil, status.Error(codes.Unimplemented, "flotilla: leaders are not moved by clients: the platform's placement does")
}

// Downgrade implements Maintenance: it is refused.
func (*maintenanceServer) Downgrade(context.Context, *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	return nil, status.Error(codes.Unimplemented, "flotilla: versions are not changed by clients: the platform's operators do")
}
