package mvcc_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// TestChecks checks a request of each kind, right at each limit and wrong in
// each way. DuplicateKeyError is shown in testdata/txn_duplicates.
func TestChecks(t *testing.T) {
	t.Parallel()
	lim := mvcc.Limits{KeyBytesMax: 4, ValueBytesMax: 3, TxnOperationsMax: 2}
	tooLarge := func(limit string, value, most uint64) error {
		return &mvcc.TooLargeError{Limit: limit, Value: value, Max: most}
	}
	invalid := func(field, message string) error { return &mvcc.InvalidError{Field: field, Message: message} }
	longID := strings.Repeat("i", mvcc.RequestIDBytesMax+1)

	tests := map[string]struct {
		req  proto.Message
		want error
	}{
		"get":           {req: &flotillav1.GetRequest{Key: b("key4")}},
		"get, no key":   {req: &flotillav1.GetRequest{}, want: invalid("key", "must not be empty")},
		"get, long key": {req: &flotillav1.GetRequest{Key: b("key-5")}, want: tooLarge("key_bytes_max", 5, 4)},

		"range":              {req: &flotillav1.RangeRequest{}},
		"range, after a key": {req: &flotillav1.RangeRequest{Keys: &flotillav1.KeyRange{Start: b("key4\x00"), End: b("key5\x00")}}},
		"range, long start":  {req: &flotillav1.RangeRequest{Keys: &flotillav1.KeyRange{Start: b("key-56")}}, want: tooLarge("key_bytes_max", 6, 5)},
		"range, long end":    {req: &flotillav1.RangeRequest{Keys: &flotillav1.KeyRange{End: b("key-56")}}, want: tooLarge("key_bytes_max", 6, 5)},
		"range, long prefix": {req: &flotillav1.RangeRequest{Keys: &flotillav1.KeyRange{Prefix: b("key-56")}}, want: tooLarge("key_bytes_max", 6, 5)},
		"range, backwards":   {req: &flotillav1.RangeRequest{Keys: &flotillav1.KeyRange{Start: b("b"), End: b("a")}}, want: invalid("keys.end", "must not be less than start")},
		"range, unknown order": {
			req:  &flotillav1.RangeRequest{SortTarget: 99},
			want: invalid("sort_target", "has no meaning for 99"),
		},

		"put":                    {req: &flotillav1.PutRequest{Key: b("k"), Value: b("abc"), RequestId: longID[1:]}},
		"put, long value":        {req: &flotillav1.PutRequest{Key: b("k"), Value: b("abcd")}, want: tooLarge("value_bytes_max", 4, 3)},
		"put, long request id":   {req: &flotillav1.PutRequest{Key: b("k"), RequestId: longID}, want: tooLarge("request_id_bytes_max", 65, 64)},
		"put, value to ignore":   {req: &flotillav1.PutRequest{Key: b("k"), Value: b("a"), IgnoreValue: true}, want: invalid("value", "must be empty with ignore_value")},
		"put, lease to ignore":   {req: &flotillav1.PutRequest{Key: b("k"), Lease: 7, IgnoreLease: true}, want: invalid("lease", "must be 0 with ignore_lease")},
		"put, no key":            {req: &flotillav1.PutRequest{}, want: invalid("key", "must not be empty")},
		"put, can be held to":    {req: &flotillav1.PutRequest{Key: b("k"), Precondition: &flotillav1.Precondition{MustNotExist: true, ModRevision: proto.Uint64(0)}}},
		"put, cannot be held to": {req: &flotillav1.PutRequest{Key: b("k"), Precondition: &flotillav1.Precondition{MustExist: true, ModRevision: proto.Uint64(0)}}, want: invalid("precondition", "asks that the key exists and that it does not")},

		"delete":                 {req: deleteKey("k")},
		"delete, range":          {req: deleteRange(&flotillav1.KeyRange{})},
		"delete, nothing":        {req: &flotillav1.DeleteRequest{}, want: invalid("target", "one of key and range must be set")},
		"delete, no key":         {req: deleteKey(""), want: invalid("key", "must not be empty")},
		"delete, long id":        {req: &flotillav1.DeleteRequest{RequestId: longID}, want: tooLarge("request_id_bytes_max", 65, 64)},
		"delete, backwards":      {req: deleteRange(&flotillav1.KeyRange{Start: b("b"), End: b("a")}), want: invalid("range.end", "must not be less than start")},
		"delete, conditional":    {req: &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Range{}, Precondition: &flotillav1.Precondition{}}, want: invalid("precondition", "is only for the deletion of one key")},
		"delete, cannot be held": {req: &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: b("k")}, Precondition: &flotillav1.Precondition{MustExist: true, MustNotExist: true}}, want: invalid("precondition", "asks that the key exists and that it does not")},

		"compact":              {req: &flotillav1.CompactRequest{Revision: 1}},
		"compact, no revision": {req: &flotillav1.CompactRequest{}, want: invalid("revision", "must be set")},
		"compact, long id":     {req: &flotillav1.CompactRequest{Revision: 1, RequestId: longID}, want: tooLarge("request_id_bytes_max", 65, 64)},

		"txn":                  {req: &flotillav1.TxnRequest{Success: operations(putOf("a"), putOf("b")), Failure: operations(putOf("a"), putOf("b"))}},
		"txn, long id":         {req: &flotillav1.TxnRequest{RequestId: longID}, want: tooLarge("request_id_bytes_max", 65, 64)},
		"txn, three in one":    {req: &flotillav1.TxnRequest{Success: operations(putOf("a"), putOf("b"), putOf("c"))}, want: tooLarge("txn_operations_max", 3, 2)},
		"txn, three in other":  {req: &flotillav1.TxnRequest{Failure: operations(putOf("a"), putOf("b"), putOf("c"))}, want: tooLarge("txn_operations_max", 3, 2)},
		"txn, three nested":    {req: &flotillav1.TxnRequest{Success: operations(&flotillav1.TxnRequest{Success: operations(putOf("a"), putOf("b"))})}, want: tooLarge("txn_operations_max", 3, 2)},
		"txn, two nested":      {req: &flotillav1.TxnRequest{Success: operations(&flotillav1.TxnRequest{Success: operations(putOf("a")), Failure: operations(putOf("b"))})}},
		"txn, nested too deep": {req: &flotillav1.TxnRequest{Success: operations(&flotillav1.TxnRequest{Success: operations(&flotillav1.TxnRequest{Success: operations(putOf("a"))})})}, want: tooLarge("txn_operations_max", 3, 2)},
		"txn, three compares":  {req: &flotillav1.TxnRequest{Compare: []*flotillav1.Compare{exists("a"), exists("b"), exists("c")}}, want: tooLarge("txn_operations_max", 3, 2)},
		"txn, compares nested": {
			req: &flotillav1.TxnRequest{
				Compare: []*flotillav1.Compare{exists("a"), exists("b")},
				Failure: operations(&flotillav1.TxnRequest{Compare: []*flotillav1.Compare{exists("c")}}),
			},
			want: tooLarge("txn_operations_max", 3, 2),
		},
		"txn, bad get":        {req: &flotillav1.TxnRequest{Success: operations(&flotillav1.GetRequest{})}, want: invalid("success[0].get.key", "must not be empty")},
		"txn, bad range":      {req: &flotillav1.TxnRequest{Failure: operations(putOf("a"), &flotillav1.RangeRequest{SortTarget: 9})}, want: invalid("failure[1].range.sort_target", "has no meaning for 9")},
		"txn, bad put":        {req: &flotillav1.TxnRequest{Success: operations(&flotillav1.TxnRequest{Success: operations(putOf(""))})}, want: invalid("success[0].txn.success[0].put.key", "must not be empty")},
		"txn, bad delete":     {req: &flotillav1.TxnRequest{Success: operations(&flotillav1.DeleteRequest{})}, want: invalid("success[0].delete.target", "one of key and range must be set")},
		"txn, nothing":        {req: &flotillav1.TxnRequest{Success: []*flotillav1.TxnOperation{nil}}, want: invalid("success[0].operation", "one must be set")},
		"txn, namespace":      {req: &flotillav1.TxnRequest{Success: operations(&flotillav1.GetRequest{Key: b("k"), Namespace: "n"})}, want: invalid("success[0].get.namespace", "must be empty inside a transaction")},
		"txn, request id":     {req: &flotillav1.TxnRequest{Success: operations(&flotillav1.TxnRequest{RequestId: "r"})}, want: invalid("success[0].txn.request_id", "must be empty inside a transaction")},
		"compare, no subject": {req: &flotillav1.TxnRequest{Compare: []*flotillav1.Compare{{}}}, want: invalid("compare[0].subject", "one of key and range must be set")},
		"compare, no key":     {req: &flotillav1.TxnRequest{Compare: []*flotillav1.Compare{exists("")}}, want: invalid("compare[0].key", "must not be empty")},
		"compare, no target":  {req: &flotillav1.TxnRequest{Compare: []*flotillav1.Compare{{Subject: &flotillav1.Compare_Key{Key: b("k")}}}}, want: invalid("compare[0].target", "one of value, version, create_revision, mod_revision and lease must be set")},
		"compare, long value": {req: &flotillav1.TxnRequest{Compare: []*flotillav1.Compare{{Subject: &flotillav1.Compare_Key{Key: b("k")}, Target: &flotillav1.Compare_Value{Value: b("abcd")}}}}, want: tooLarge("value_bytes_max", 4, 3)},
		"compare, backwards":  {req: &flotillav1.TxnRequest{Compare: []*flotillav1.Compare{{Subject: &flotillav1.Compare_Range{Range: &flotillav1.KeyRange{Start: b("b"), End: b("a")}}}}}, want: invalid("compare[0].range.end", "must not be less than start")},
		"compare, unknown":    {req: &flotillav1.TxnRequest{Compare: []*flotillav1.Compare{{Subject: &flotillav1.Compare_Range{}, Target: &flotillav1.Compare_Lease{}, Relation: 9}}}, want: invalid("compare[0].relation", "has no meaning for 9")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, check(t, tt.req, lim))
		})
	}
}

func check(t *testing.T, req proto.Message, lim mvcc.Limits) error {
	t.Helper()
	switch req := req.(type) {
	case *flotillav1.GetRequest:
		return mvcc.CheckGet(req, lim)
	case *flotillav1.RangeRequest:
		return mvcc.CheckRange(req, lim)
	case *flotillav1.PutRequest:
		return mvcc.CheckPut(req, lim)
	case *flotillav1.DeleteRequest:
		return mvcc.CheckDelete(req, lim)
	case *flotillav1.TxnRequest:
		return mvcc.CheckTxn(req, lim)
	case *flotillav1.CompactRequest:
		return mvcc.CheckCompact(req, lim)
	}
	require.Fail(t, "no check", "%T", req)
	return nil
}

func b(s string) []byte { return []byte(s) }

func putOf(key string) *flotillav1.PutRequest { return &flotillav1.PutRequest{Key: b(key)} }

func deleteKey(key string) *flotillav1.DeleteRequest {
	return &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: b(key)}}
}

func deleteRange(r *flotillav1.KeyRange) *flotillav1.DeleteRequest {
	return &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Range{Range: r}}
}

// exists is the comparison that a key exists.
func exists(key string) *flotillav1.Compare {
	return &flotillav1.Compare{
		Subject:  &flotillav1.Compare_Key{Key: b(key)},
		Target:   &flotillav1.Compare_Version{Version: 0},
		Relation: flotillav1.Compare_RELATION_GREATER,
	}
}

// operations wraps requests as those of a transaction.
func operations(requests ...proto.Message) []*flotillav1.TxnOperation {
	var list []*flotillav1.TxnOperation
	for _, req := range requests {
		op := &flotillav1.TxnOperation{}
		switch req := req.(type) {
		case *flotillav1.GetRequest:
			op.Operation = &flotillav1.TxnOperation_Get{Get: req}
		case *flotillav1.RangeRequest:
			op.Operation = &flotillav1.TxnOperation_Range{Range: req}
		case *flotillav1.PutRequest:
			op.Operation = &flotillav1.TxnOperation_Put{Put: req}
		case *flotillav1.DeleteRequest:
			op.Operation = &flotillav1.TxnOperation_Delete{Delete: req}
		case *flotillav1.TxnRequest:
			op.Operation = &flotillav1.TxnOperation_Txn{Txn: req}
		}
		list = append(list, op)
	}
	return list
}
