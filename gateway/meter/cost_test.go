package meter_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/meter"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

func TestCostOf(t *testing.T) {
	t.Parallel()
	type (
		get     = flotillav1.GetRequest
		put     = flotillav1.PutRequest
		txn     = flotillav1.TxnRequest
		op      = flotillav1.TxnOperation
		opPut   = flotillav1.TxnOperation_Put
		opGet   = flotillav1.TxnOperation_Get
		done    = flotillav1.TxnOperationResponse
		donePut = flotillav1.TxnOperationResponse_Put
		doneGet = flotillav1.TxnOperationResponse_Get
	)
	kv := func(bytes int) *flotillav1.KeyValue {
		return &flotillav1.KeyValue{Key: []byte("key"), Value: make([]byte, bytes-3)}
	}
	del := &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: []byte("key")}}
	writing := &txn{
		Compare: []*flotillav1.Compare{{Subject: &flotillav1.Compare_Key{Key: []byte("key")}}},
		Success: []*op{
			{Operation: &opPut{Put: &put{Key: []byte("key"), Value: make([]byte, 1500)}}},
			{Operation: &opGet{Get: &get{Key: []byte("key")}}},
		},
		Failure: []*op{{Operation: &opGet{Get: &get{Key: []byte("key")}}}},
	}
	reading := &txn{Success: []*op{{Operation: &opGet{Get: &get{Key: []byte("key")}}}}}
	for name, test := range map[string]struct {
		request, response proto.Message
		err               error
		want              meter.Cost
	}{
		"get":                     {request: &get{}, response: &flotillav1.GetResponse{Kv: kv(10)}, want: meter.Cost{ReadUnits: 1, Bytes: 10}},
		"get of nothing":          {request: &get{}, response: &flotillav1.GetResponse{}, want: meter.Cost{ReadUnits: 1}},
		"get of 4 KiB":            {request: &get{}, response: &flotillav1.GetResponse{Kv: kv(4 << 10)}, want: meter.Cost{ReadUnits: 1, Bytes: 4 << 10}},
		"get of more":             {request: &get{}, response: &flotillav1.GetResponse{Kv: kv(4<<10 + 1)}, want: meter.Cost{ReadUnits: 2, Bytes: 4<<10 + 1}},
		"range":                   {request: &flotillav1.RangeRequest{}, response: &flotillav1.RangeResponse{Kvs: []*flotillav1.KeyValue{kv(3000), kv(3000), kv(3000)}}, want: meter.Cost{ReadUnits: 3, Bytes: 9000}},
		"put":                     {request: &put{Key: []byte("key"), Value: make([]byte, 1021)}, response: &flotillav1.PutResponse{}, want: meter.Cost{WriteUnits: 1}},
		"put of more than 1 KiB":  {request: &put{Key: []byte("key"), Value: make([]byte, 1022)}, response: &flotillav1.PutResponse{}, want: meter.Cost{WriteUnits: 2}},
		"put with what was there": {request: &put{PrevKv: true}, response: &flotillav1.PutResponse{PrevKv: kv(5000)}, want: meter.Cost{WriteUnits: 1, ReadUnits: 2, Bytes: 5000}},
		"delete":                  {request: del, response: &flotillav1.DeleteResponse{Deleted: 1}, want: meter.Cost{WriteUnits: 1}},
		"delete of nothing":       {request: del, response: &flotillav1.DeleteResponse{}, want: meter.Cost{WriteUnits: 1}},
		"delete of many":          {request: del, response: &flotillav1.DeleteResponse{Deleted: 70}, want: meter.Cost{WriteUnits: 70}},
		"compaction":              {request: &flotillav1.CompactRequest{}, response: &flotillav1.CompactResponse{}, want: meter.Cost{WriteUnits: 1}},
		"grant":                   {request: &flotillav1.GrantLeaseRequest{}, response: &flotillav1.GrantLeaseResponse{}, want: meter.Cost{WriteUnits: 1}},
		"renewals":                {request: &flotillav1.KeepAliveRequest{Ids: make([]int64, 200)}, response: &flotillav1.KeepAliveResponse{}, want: meter.Cost{WriteUnits: 2}},
		"list of leases":          {request: &flotillav1.ListLeasesRequest{}, response: &flotillav1.ListLeasesResponse{Ids: make([]int64, 600)}, want: meter.Cost{ReadUnits: 2, Bytes: 4800}},
		"transaction that succeeds": {
			request: writing,
			response: &flotillav1.TxnResponse{Succeeded: true, Responses: []*done{
				{Response: &donePut{Put: &flotillav1.PutResponse{}}}, {Response: &doneGet{Get: &flotillav1.GetResponse{Kv: kv(100)}}},
			}},
			want: meter.Cost{WriteUnits: 2, ReadUnits: 2, Bytes: 100},
		},
		"transaction that does not": {
			request:  writing,
			response: &flotillav1.TxnResponse{Responses: []*done{{Response: &doneGet{Get: &flotillav1.GetResponse{}}}}},
			want:     meter.Cost{ReadUnits: 2},
		},
		"transaction of nothing": {request: &txn{}, response: &flotillav1.TxnResponse{Succeeded: true}, want: meter.Cost{ReadUnits: 1}},
		"refused for a limit":    {request: &put{}, err: &tenancy.QuotaError{Limit: "keys_max"}},
		"refused write":          {request: &put{}, err: mvcc.ErrKeyExists, want: meter.Cost{WriteUnits: 1}},
		"refused read":           {request: &get{}, err: &mvcc.CompactedError{}, want: meter.Cost{ReadUnits: 1}},
		"refused transaction":    {request: reading, err: &mvcc.CompactedError{}, want: meter.Cost{ReadUnits: 1}},
		"failure":                {request: &put{}, err: errors.New("no leader")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, meter.CostOf(test.request, test.response, test.err))
		})
	}
}
