package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/watch"
)

// Locks and elections of etcd are queues of keys under a name, in the order of
// their creation: the first one holds the lock or leads. Clients join the same
// queues by themselves (clientv3's package concurrency), so the keys are
// <name>/<lease in hexadecimal>, and each waits for the one just before it.

// sessionTTLSeconds is the TTL of the lease of a caller that brings none.
const sessionTTLSeconds = 60

// queues joins and watches queues for one caller.
type queues struct{ *Server }

func (q queues) kv() *kvServer { return &kvServer{Server: q.Server} }

// session is the lease of a caller: its own, or a new one.
func (q queues) session(ctx context.Context, lease int64) (int64, error) {
	if lease != 0 {
		return lease, nil
	}
	granted, err := (&leaseServer{Server: q.Server}).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: sessionTTLSeconds})
	return granted.GetID(), err
}

func queuePrefix(name []byte) []byte { return append(append([]byte{}, name...), '/') }

func placeKey(name []byte, lease int64) []byte {
	return strconv.AppendInt(queuePrefix(name), lease, 16)
}

// place is a caller's place in a queue.
type place struct {
	key    []byte
	prefix []byte
	// revision is the one of the key's creation.
	revision int64
	// joined says that the key was made now; otherwise value is what it had.
	joined bool
	value  []byte
	header *pb.ResponseHeader
}

// join takes a place in a queue, or finds the one that the lease has.
func (q queues) join(ctx context.Context, name []byte, lease int64, value []byte) (*place, error) {
	p := &place{key: placeKey(name, lease), prefix: queuePrefix(name)}
	response, err := q.kv().Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(p.key, 0)},
		Success: []*pb.RequestOp{putOperation(&pb.PutRequest{Key: p.key, Value: value, Lease: lease})},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: p.key}}}},
	})
	if err != nil {
		return nil, err
	}
	p.header, p.revision, p.joined = response.GetHeader(), response.GetHeader().GetRevision(), response.GetSucceeded()
	if !p.joined {
		kv := response.GetResponses()[0].GetResponseRange().GetKvs()[0]
		p.revision, p.value = kv.GetCreateRevision(), kv.GetValue()
	}
	return p, nil
}

func createdAt(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{
		Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_CreateRevision{CreateRevision: revision},
	}
}

func putOperation(put *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}
}

// read reads keys that are not sent to the caller.
func (q queues) read(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	c := callerFrom(ctx)
	hold := q.door.newHold(c.principal)
	defer hold.release()
	return q.readRange(ctx, c, r, &hold)
}

// wait returns when no key before the place is left.
func (q queues) wait(ctx context.Context, p *place) error {
	for {
		before, err := q.read(ctx, &pb.RangeRequest{
			Key: p.prefix, RangeEnd: prefixEnd(p.prefix), MaxCreateRevision: p.revision - 1, KeysOnly: true,
			SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_DESCEND, Limit: 1,
		})
		if err != nil || len(before.GetKvs()) == 0 {
			return err
		}
		if err := q.waitDeleted(ctx, before.GetKvs()[0].GetKey(), before.GetHeader().GetRevision()); err != nil {
			return err
		}
	}
}

// prefixEnd is the end of the range of keys with a prefix that ends with '/'.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte{}, prefix...)
	end[len(end)-1]++
	return end
}

// first is the first key of a queue, nil if it is empty.
func (q queues) first(ctx context.Context, name []byte) (*mvccpb.KeyValue, *pb.ResponseHeader, error) {
	prefix := queuePrefix(name)
	response, err := q.read(ctx, &pb.RangeRequest{
		Key: prefix, RangeEnd: prefixEnd(prefix),
		SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_ASCEND, Limit: 1,
	})
	if err != nil || len(response.GetKvs()) == 0 {
		return nil, response.GetHeader(), err
	}
	return response.GetKvs()[0], response.GetHeader(), nil
}

// waitDeleted returns when a key is deleted at a revision or later.
func (q queues) waitDeleted(ctx context.Context, key []byte, from int64) error {
	return q.follow(ctx, &flotillav1.WatchCreate{
		Target: &flotillav1.WatchCreate_Key{Key: key}, StartRevision: uint64(from), NoPut: true,
	}, func(*watch.Event) (bool, error) { return true, nil })
}

// follow calls visit with each event of a watch until it is done.
func (q queues) follow(ctx context.Context, create *flotillav1.WatchCreate, visit func(*watch.Event) (done bool, err error)) error {
	c := callerFrom(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watches := q.Server.kv.NewWatches(ctx, watch.StreamConfig{
		StillValid: q.door.auth.StillValid,
	})
	defer watches.Close()
	create.Namespace = c.namespace
	watches.Create(ctx, create)
	go func() { // ends with this function, by cancel
		select {
		case <-q.stopping:
			watches.End(shards.ErrStopping)
		case <-ctx.Done():
		}
	}()
	var answers []watch.Answer
	for {
		var err error
		if answers, err = watches.Next(ctx, answers[:0]); err != nil {
			return err
		}
		for i := range answers {
			if answers[i].Canceled {
				return answers[i].Err
			}
			for _, event := range answers[i].Events {
				if done, err := visit(event); done || err != nil {
					return err
				}
			}
		}
	}
}

// Errors in etcd's words. Its services of locks and elections are clients of
// the rest, and tell what that told them without its code.
var (
	errSessionExpired   = status.Error(codes.Unknown, "mutex: session is expired")
	errNotLeader        = status.Error(codes.Unknown, "election: not leader")
	errNoLeader         = status.Error(codes.Unknown, "election: no leader")
	errMissingLeaderKey = status.Error(codes.Unknown, `"leader" field must be provided`)
)

// withoutCode is an error as those services tell it.
func withoutCode(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	told, fault := toStatus(err)
	if fault {
		return fmt.Errorf("queue of keys: %w", err)
	}
	kept := []codes.Code{codes.Unknown, codes.Canceled, codes.DeadlineExceeded, codes.Unavailable}
	if slices.Contains(kept, status.Code(told)) {
		return told
	}
	return status.Error(codes.Unknown, rpctypes.ErrorDesc(told))
}
