package etcd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

const (
	// answerBytesMax bounds an answer that is gathered from several reads.
	answerBytesMax = 128 << 20
	// restartsMax is how often a range is begun anew because a compaction
	// dropped its revision while it was read.
	restartsMax = 5
)

// readRange answers a range as etcd does: whole, however many reads that takes.
// What was gathered is in the hold.
func (s *Server) readRange(ctx context.Context, c *caller, r *pb.RangeRequest, hold *hold) (*pb.RangeResponse, error) {
	if isPoint(r) {
		return s.readPoint(ctx, c, r)
	}
	for attempt := 1; ; attempt++ {
		response, err := s.readPages(ctx, c, r, hold)
		if as[*mvcc.CompactedError](err) && r.GetRevision() <= 0 && attempt < restartsMax {
			continue
		}
		return response, err
	}
}

// isPoint says whether a range is the reading of one key and nothing else.
func isPoint(r *pb.RangeRequest) bool {
	return len(r.GetRangeEnd()) == 0 && !r.GetCountOnly() && !hasFilters(r)
}

func (s *Server) readPoint(ctx context.Context, c *caller, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	got, err := route.Do[*flotillav1.GetResponse](ctx, s.kv, &flotillav1.GetRequest{
		Namespace: c.namespace, Key: r.GetKey(), Revision: revisionOf(r.GetRevision()), Serializable: r.GetSerializable(),
	})
	if err != nil {
		return nil, err
	}
	response := pointResponse(r, got)
	response.Header = s.header(c, got.GetRevision())
	return response, nil
}

// pointResponse is the answer to the reading of one key, without a header.
func pointResponse(r *pb.RangeRequest, got *flotillav1.GetResponse) *pb.RangeResponse {
	response := new(pb.RangeResponse)
	if kv := keyValue(got.GetKv()); kv != nil {
		response.Kvs, response.Count = []*mvccpb.KeyValue{kv}, 1
	}
	bareKeys(response.GetKvs(), r)
	return response
}

// readPages reads a range page by page at one revision.
func (s *Server) readPages(ctx context.Context, c *caller, r *pb.RangeRequest, hold *hold) (*pb.RangeResponse, error) {
	plan := planRange(r)
	if !plan.sorted {
		response, err := s.gather(ctx, c, plan, &gathering{request: r, hold: hold})
		bareKeys(response.GetKvs(), r)
		return response, err
	}
	// The pages of an answer in another order have no order among them, so the
	// keys are gathered and sorted here.
	plan.request.SortTarget, plan.request.Descending = flotillav1.SortTarget_SORT_TARGET_KEY, false
	plan.request.KeysOnly = r.GetKeysOnly() && r.GetSortTarget() != pb.RangeRequest_VALUE
	if !plan.limitFirst {
		plan.request.Limit = 0
		plan.request.CountTotal = hasFilters(r)
	}
	most := 0
	if r.GetLimit() > 0 && !plan.limitFirst {
		most = int(min(r.GetLimit(), math.MaxInt32))
	}
	response, err := s.gather(ctx, c, plan, &gathering{request: r, hold: hold, keysMax: most})
	if err != nil {
		return nil, err
	}
	sortKeys(response.GetKvs(), r)
	cutRange(response, r)
	return response, nil
}

// gathering is the keys of an answer that takes several reads.
type gathering struct {
	request *pb.RangeRequest
	hold    *hold
	// keysMax is how many keys of the request's order are needed, 0 for all.
	keysMax int
	kvs     []*mvccpb.KeyValue
	bytes   int
	// cut says that keys were left out for keysMax.
	cut bool
}

// add adds a page, which follows those before in key order.
func (g *gathering) add(page []*flotillav1.KeyValue) error {
	g.kvs = appendKeyValues(g.kvs, page)
	g.bytes += keyValuesBytes(g.kvs[len(g.kvs)-len(page):])
	if g.keysMax > 0 && len(g.kvs)/2 >= g.keysMax {
		sortKeys(g.kvs, g.request)
		clear(g.kvs[g.keysMax:])
		g.kvs, g.cut = g.kvs[:g.keysMax], true
		g.bytes = keyValuesBytes(g.kvs)
	}
	if g.bytes > answerBytesMax {
		return errAnswerTooLarge
	}
	return g.hold.resize(g.bytes)
}

// gather reads what a plan asks for.
func (s *Server) gather(ctx context.Context, c *caller, plan rangePlan, g *gathering) (*pb.RangeResponse, error) {
	response := new(pb.RangeResponse)
	plan.request.Namespace = c.namespace
	counted := plan.request.GetCountTotal() || g.request.GetCountOnly()
	err := s.kv.Pages(ctx, plan.request, func(page *flotillav1.RangeResponse) error {
		if response.GetHeader() == nil {
			response.Header = s.header(c, page.GetRevision())
			response.Count = int64(page.GetCount())
		}
		if !counted {
			response.Count += int64(len(page.GetKvs()))
		}
		response.More = page.GetMore()
		return g.add(page.GetKvs())
	})
	if err != nil {
		return nil, err
	}
	response.Kvs, response.More = g.kvs, response.GetMore() || g.cut
	return response, nil
}

// rangePlan is how a range of etcd is asked for.
type rangePlan struct {
	request *flotillav1.RangeRequest
	// sorted says that the answer is not in key order.
	sorted bool
	// limitFirst says that the limit is applied before the order: so does etcd
	// when a target is given without an order. The request asks for one key
	// more than the limit, from which cutRange tells that there are more.
	limitFirst bool
}

// planRange translates a range, all but its namespace.
func planRange(r *pb.RangeRequest) rangePlan {
	plan := rangePlan{
		request: &flotillav1.RangeRequest{
			Keys: oneOrRange(r.GetKey(), r.GetRangeEnd()), Revision: revisionOf(r.GetRevision()), Serializable: r.GetSerializable(),
			Limit: uint64(max(r.GetLimit(), 0)), KeysOnly: r.GetKeysOnly(), CountOnly: r.GetCountOnly(),
			SortTarget:     sortTarget(r.GetSortTarget()),
			Descending:     r.GetSortOrder() == pb.RangeRequest_DESCEND,
			MinModRevision: revisionOf(r.GetMinModRevision()), MinCreateRevision: revisionOf(r.GetMinCreateRevision()),
		},
		sorted: r.GetSortTarget() != pb.RangeRequest_KEY && !r.GetCountOnly(),
	}
	for _, most := range []struct {
		revision int64
		field    *uint64
	}{{r.GetMaxModRevision(), &plan.request.MaxModRevision}, {r.GetMaxCreateRevision(), &plan.request.MaxCreateRevision}} {
		*most.field = revisionOf(most.revision)
		if most.revision < 0 { // no key is that old
			plan.request.MinModRevision = math.MaxUint64
		}
	}
	plan.request.CountTotal = !r.GetCountOnly() && (plan.request.GetLimit() > 0 || hasFilters(r))
	if plan.sorted && r.GetSortOrder() == pb.RangeRequest_NONE && plan.request.GetLimit() > 0 && !hasFilters(r) {
		plan.limitFirst = true
		if plan.request.GetLimit() < math.MaxInt64 {
			plan.request.Limit++
		}
	}
	return plan
}

// revisionOf is a revision of etcd, where less than 0 says the same as 0.
func revisionOf(revision int64) uint64 { return uint64(max(revision, 0)) }

func sortTarget(target pb.RangeRequest_SortTarget) flotillav1.SortTarget {
	switch target {
	case pb.RangeRequest_VERSION:
		return flotillav1.SortTarget_SORT_TARGET_VERSION
	case pb.RangeRequest_CREATE:
		return flotillav1.SortTarget_SORT_TARGET_CREATE_REVISION
	case pb.RangeRequest_MOD:
		return flotillav1.SortTarget_SORT_TARGET_MOD_REVISION
	case pb.RangeRequest_VALUE:
		return flotillav1.SortTarget_SORT_TARGET_VALUE
	case pb.RangeRequest_KEY:
	}
	return flotillav1.SortTarget_SORT_TARGET_KEY
}

// sortKeys sorts keys that are in key order; it stays the order among equals.
func sortKeys(kvs []*mvccpb.KeyValue, r *pb.RangeRequest) {
	slices.SortStableFunc(kvs, func(a, b *mvccpb.KeyValue) int {
		if r.GetSortOrder() == pb.RangeRequest_DESCEND {
			a, b = b, a
		}
		switch r.GetSortTarget() {
		case pb.RangeRequest_VERSION:
			return cmp.Compare(a.GetVersion(), b.GetVersion())
		case pb.RangeRequest_CREATE:
			return cmp.Compare(a.GetCreateRevision(), b.GetCreateRevision())
		case pb.RangeRequest_MOD:
			return cmp.Compare(a.GetModRevision(), b.GetModRevision())
		case pb.RangeRequest_VALUE:
			return bytes.Compare(a.GetValue(), b.GetValue())
		case pb.RangeRequest_KEY:
		}
		return bytes.Compare(a.GetKey(), b.GetKey())
	})
}

// cutRange applies the limit to an answer that holds more, and leaves out the
// values that were needed for the order alone.
func cutRange(response *pb.RangeResponse, r *pb.RangeRequest) {
	if limit := r.GetLimit(); limit > 0 && int64(len(response.GetKvs())) > limit {
		response.Kvs, response.More = response.GetKvs()[:limit], true
	}
	bareKeys(response.GetKvs(), r)
}

// bareKeys leaves out what is not asked for with keys_only: the values, and as
// in etcd also the leases, unless it read the values to sort by them.
func bareKeys(kvs []*mvccpb.KeyValue, r *pb.RangeRequest) {
	if !r.GetKeysOnly() {
		return
	}
	for _, kv := range kvs {
		kv.Value = nil
		if r.GetSortTarget() != pb.RangeRequest_VALUE {
			kv.Lease = 0
		}
	}
}

// streamRange answers a range in parts, each with a hold of its own; the last
// one has the header and the count.
func (s *Server) streamRange(ctx context.Context, c *caller, r *pb.RangeRequest, sendPart func(*pb.RangeStreamResponse, *hold) error) error {
	hold := s.door.newHold(c.principal)
	defer hold.release()
	send := func(part *pb.RangeResponse) error {
		if err := hold.resize(answerBytes(part)); err != nil {
			return err
		}
		return sendPart(&pb.RangeStreamResponse{RangeResponse: part}, &hold)
	}
	plan := planRange(r)
	plan.request.Namespace = c.namespace
	plan.request.SortTarget = flotillav1.SortTarget_SORT_TARGET_KEY
	counted := plan.request.GetCountTotal() || r.GetCountOnly()
	last := new(pb.RangeResponse)
	err := s.kv.Pages(ctx, plan.request, func(page *flotillav1.RangeResponse) error {
		if last.GetHeader() == nil {
			last.Header, last.Count = s.header(c, page.GetRevision()), int64(page.GetCount())
		} else if err := send(&pb.RangeResponse{Kvs: last.GetKvs()}); err != nil {
			return err
		}
		last.Kvs, last.More = appendKeyValues(nil, page.GetKvs()), page.GetMore()
		bareKeys(last.GetKvs(), r)
		if !counted {
			last.Count += int64(len(page.GetKvs()))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if last.GetHeader() == nil {
		return errors.New("a range was answered with nothing")
	}
	return send(last)
}
