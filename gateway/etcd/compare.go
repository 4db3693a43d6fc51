package etcd

import (
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// compareOf translates a comparison. etcd takes any: an unknown relation holds
// for whatever exists to be compared, an unknown target is always equal, and a
// missing or other value stands for 0 or no bytes.
func compareOf(c *pb.Compare) *flotillav1.Compare {
	out := new(flotillav1.Compare)
	if len(c.GetRangeEnd()) == 0 {
		out.Subject = &flotillav1.Compare_Key{Key: c.GetKey()}
	} else {
		out.Subject = &flotillav1.Compare_Range{Range: keyRange(c.GetKey(), c.GetRangeEnd())}
	}
	relation, known := relationOf(c.GetResult())
	if c.GetTarget() == pb.Compare_VALUE {
		if !known {
			return exists(out)
		}
		out.Relation, out.Target = relation, &flotillav1.Compare_Value{Value: c.GetValue()}
		return out
	}
	if !known {
		return always(out, true)
	}
	out.Relation = relation
	var operand int64
	switch c.GetTarget() {
	case pb.Compare_VERSION:
		operand = c.GetVersion()
		out.Target = &flotillav1.Compare_Version{Version: uint64(operand)}
	case pb.Compare_CREATE:
		operand = c.GetCreateRevision()
		out.Target = &flotillav1.Compare_CreateRevision{CreateRevision: uint64(operand)}
	case pb.Compare_MOD:
		operand = c.GetModRevision()
		out.Target = &flotillav1.Compare_ModRevision{ModRevision: uint64(operand)}
	case pb.Compare_LEASE:
		out.Target = &flotillav1.Compare_Lease{Lease: c.GetLease()}
	default:
		return always(out, relation == flotillav1.Compare_RELATION_EQUAL)
	}
	if operand < 0 { // every number of a key is greater
		return always(out, relation == flotillav1.Compare_RELATION_GREATER || relation == flotillav1.Compare_RELATION_NOT_EQUAL)
	}
	return out
}

func relationOf(result pb.Compare_CompareResult) (relation flotillav1.Compare_Relation, known bool) {
	switch result {
	case pb.Compare_EQUAL:
		return flotillav1.Compare_RELATION_EQUAL, true
	case pb.Compare_GREATER:
		return flotillav1.Compare_RELATION_GREATER, true
	case pb.Compare_LESS:
		return flotillav1.Compare_RELATION_LESS, true
	case pb.Compare_NOT_EQUAL:
		return flotillav1.Compare_RELATION_NOT_EQUAL, true
	}
	return flotillav1.Compare_RELATION_UNSPECIFIED, false
}

// always makes a comparison that holds for every key, or for none, whether the
// key exists or not. It still names the keys, which the caller must be allowed
// to read.
func always(c *flotillav1.Compare, holds bool) *flotillav1.Compare {
	bound := uint64(0)
	if holds {
		bound = math.MaxUint64
	}
	c.Relation, c.Target = flotillav1.Compare_RELATION_LESS, &flotillav1.Compare_Version{Version: bound}
	return c
}

// exists makes a comparison that holds for keys that exist.
func exists(c *flotillav1.Compare) *flotillav1.Compare {
	c.Relation, c.Target = flotillav1.Compare_RELATION_GREATER, &flotillav1.Compare_Version{}
	return c
}
