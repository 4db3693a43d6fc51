package catalog

import (
	"cmp"
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

// record is a record's message and the revision at which it was written.
type record[M proto.Message] struct {
	message  M
	revision uint64 // 0 when it does not exist
}

func (r record[M]) exists() bool { return r.revision != 0 }

// read reads one record, current as of the call.
func read[M proto.Message](ctx context.Context, c *Catalog, key string, into M) (record[M], error) {
	r := record[M]{message: into}
	response, err := query[*flotillav1.GetResponse](ctx, c, &flotillav1.GetRequest{Key: []byte(key)})
	if err == nil && response.GetKv() != nil {
		r.revision = response.GetKv().GetModRevision()
		err = proto.Unmarshal(response.GetKv().GetValue(), into)
	}
	if err != nil {
		return r, fmt.Errorf("read %s from the catalog: %w", kindOf(key), err)
	}
	return r, nil
}

// pageMax is how many records are asked for at once.
const pageMax = 1000

// span is a part of the records under a prefix.
type span struct {
	prefix string
	after  string // no names up to this one
	limit  uint64 // at most so many; 0 is all
	// revision is the one to read at; 0 is the newest.
	revision uint64
	// before is where the span ends, if it is before the end of the prefix.
	before string
	// newestFirst is the other order, of names before `before`.
	newestFirst bool
	// in is the namespace; 0 is the system namespace.
	in tenancy.NamespaceID
}

// list visits the records of a span in the order of their keys, all as of one
// revision, and returns whether there are more.
func (c *Catalog) list(ctx context.Context, s span, visit func(name string, kv *flotillav1.KeyValue) error) (more bool, err error) {
	request := &flotillav1.RangeRequest{
		Keys: &flotillav1.KeyRange{Prefix: []byte(s.prefix)}, Revision: s.revision, Descending: s.newestFirst,
	}
	if s.after != "" {
		request.Keys.Start = []byte(s.prefix + s.after + "\x00")
	}
	if s.before != "" {
		request.Keys.End = []byte(s.prefix + s.before)
	}
	for visited := uint64(0); ; {
		request.Limit = pageMax
		if s.limit != 0 {
			request.Limit = min(pageMax, s.limit-visited)
		}
		page, err := queryIn[*flotillav1.RangeResponse](ctx, c, cmp.Or(s.in, tenancy.SystemNamespace), request)
		if err != nil {
			return false, fmt.Errorf("list %s of the catalog: %w", kindOf(s.prefix), err)
		}
		for _, kv := range page.GetKvs() {
			if err := visit(string(kv.GetKey()[len(s.prefix):]), kv); err != nil {
				return false, err
			}
		}
		visited += uint64(len(page.GetKvs()))
		if !page.GetMore() || visited == s.limit {
			return page.GetMore(), nil
		}
		request.Revision = page.GetReadRevision()
		if s.newestFirst {
			request.Keys.End = page.GetNextKey()
		} else {
			request.Keys.Start = page.GetNextKey()
		}
	}
}

// query reads the system namespace, current as of the call.
func query[A proto.Message](ctx context.Context, c *Catalog, request proto.Message) (A, error) {
	return queryIn[A](ctx, c, tenancy.SystemNamespace, request)
}

// queryIn reads a namespace of the platform, current as of the call.
func queryIn[A proto.Message](ctx context.Context, c *Catalog, ns tenancy.NamespaceID, request proto.Message) (A, error) {
	var none A
	response, err := c.host.Query(ctx, shards.SystemShard, ns, shards.Linearizable, request)
	if err != nil {
		return none, err
	}
	answer, ok := response.(A)
	if !ok {
		return none, fmt.Errorf("the answer to %T is a %T", request, response)
	}
	return answer, nil
}

// decode reads a record out of a stored value.
func decode[M proto.Message](kind string, value []byte, into M) (M, error) {
	if err := proto.Unmarshal(value, into); err != nil {
		return into, fmt.Errorf("decode a record (%s): %w", kind, err)
	}
	return into, nil
}
