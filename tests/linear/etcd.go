package linear

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// etcd asks through the etcd v3 API, as a client does that never tries again: it
// only asks another node after one failed.
type etcd struct {
	token   string
	conns   []*grpc.ClientConn
	clients []pb.KVClient
	present atomic.Int64 // which of them is asked
}

// newEtcd connects to all endpoints, and begins with the first. The token is an
// API key and a namespace: <key>@<namespace>. Without encryption secure is nil.
func newEtcd(endpoints []string, secure *tls.Config, token string) (*etcd, error) {
	c := &etcd{token: token}
	security := insecure.NewCredentials()
	if secure != nil {
		security = credentials.NewTLS(secure)
	}
	for _, endpoint := range endpoints {
		_, address, _ := strings.Cut(endpoint, "://")
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(security), grpc.WithDisableRetry())
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.conns, c.clients = append(c.conns, conn), append(c.clients, pb.NewKVClient(conn))
	}
	return c, nil
}

func (c *etcd) close() error {
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// ask implements port.
func (c *etcd) ask(ctx context.Context, in input) (output, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, c.token)
	asked := c.present.Load()
	out, err := askEtcd(ctx, c.clients[int(asked)%len(c.clients)], in)
	if err != nil {
		c.present.CompareAndSwap(asked, asked+1)
	}
	return out, err
}

func askEtcd(ctx context.Context, kv pb.KVClient, in input) (output, error) {
	key, value := []byte(keyName(in.group, in.key)), []byte(strconv.Itoa(in.value))
	putOp := func(key []byte) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value}}}
	}
	switch in.kind {
	case get:
		res, err := kv.Range(ctx, &pb.RangeRequest{Key: key})
		return foundAll(in, res.GetKvs(), err)
	case list, count:
		prefix := groupPrefix(in.group)
		res, err := kv.Range(ctx, &pb.RangeRequest{
			Key: []byte(prefix), RangeEnd: []byte(prefix[:len(prefix)-1] + "0"), CountOnly: in.kind == count,
		})
		if in.kind == count {
			return output{count: int(res.GetCount())}, err
		}
		return foundAll(in, res.GetKvs(), err)
	case put:
		res, err := kv.Put(ctx, &pb.PutRequest{Key: key, Value: value})
		return output{revision: uint64(res.GetHeader().GetRevision())}, err
	case putBoth:
		res, err := kv.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{putOp(key), putOp([]byte(keyName(in.group, in.other)))}})
		return output{revision: uint64(res.GetHeader().GetRevision())}, err
	case remove:
		res, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: key})
		return output{revision: uint64(res.GetHeader().GetRevision()), count: int(res.GetDeleted())}, err
	default:
		return replaceEtcd(ctx, kv, in, putOp(key))
	}
}

// replaceEtcd replaces a version by a transaction; swap reads the key if it
// differs.
func replaceEtcd(ctx context.Context, kv pb.KVClient, in input, put *pb.RequestOp) (output, error) {
	key := put.GetRequestPut().GetKey()
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, Key: key,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: int64(in.expected)},
		}},
		Success: []*pb.RequestOp{put},
	}
	if in.kind == swap {
		txn.Failure = []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}}
	}
	res, err := kv.Txn(ctx, txn)
	switch {
	case err != nil:
		return output{}, err
	case res.GetSucceeded():
		return output{done: true, revision: uint64(res.GetHeader().GetRevision())}, nil
	case in.kind == swap:
		return foundAll(in, res.GetResponses()[0].GetResponseRange().GetKvs(), nil)
	default:
		return output{}, nil
	}
}

// foundAll is what a read of a group found.
func foundAll(in input, kvs []*mvccpb.KeyValue, err error) (output, error) {
	var out output
	for _, kv := range kvs {
		key, parseErr := strconv.Atoi(strings.TrimPrefix(string(kv.GetKey()), groupPrefix(in.group)))
		value, valueErr := strconv.Atoi(string(kv.GetValue()))
		if err = errors.Join(err, parseErr, valueErr); err != nil {
			return output{}, err
		}
		if key < 0 || key >= keysPerGroup {
			return output{}, fmt.Errorf("%q is none of the keys", kv.GetKey())
		}
		out.found[key] = version{value: value, count: uint64(kv.GetVersion()), revision: uint64(kv.GetModRevision())}
	}
	return out, err
}

// unknown implements port. A node says Unavailable only of what was surely not
// applied, but for its own time-out; so does the library while it has no
// connection. Otherwise one broke after the write was sent.
func (*etcd) unknown(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable:
		said := status.Convert(err).Message()
		for _, told := range []error{rpctypes.ErrGRPCNoLeader, rpctypes.ErrGRPCLeaderChanged, rpctypes.ErrGRPCStopped} {
			if said == status.Convert(told).Message() {
				return false
			}
		}
		return !strings.Contains(said, "Error while dialing")
	case codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal:
		return true
	default:
		return false
	}
}

// outage implements port.
func (*etcd) outage(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
		return true
	default:
		return false
	}
}
