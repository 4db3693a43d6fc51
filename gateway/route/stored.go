package route

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

// StoredUsage tells how much namespaces of one shard have stored in the hours from
// first to last, together: byte-seconds by hour, counted since 1970. It is for the
// platform itself, and counts for nobody.
func (kv *KV) StoredUsage(
	ctx context.Context, tenant tenancy.TenantID, shard shards.ShardID, namespaces []tenancy.NamespaceID, first, last uint64, now time.Time,
) (map[uint64]uint64, error) {
	byHour := make(map[uint64]uint64)
	var failed error
	batch := &shards.QueryBatch{
		Tenant: tenant, Consistency: shards.Linearizable, Queries: make([]shards.Query, len(namespaces)),
		Emit: func(_ int, response proto.Message, err error) {
			answer, err := as[*internalv1.StoredUsageResponse](response, err)
			if err != nil {
				failed = err
				return
			}
			for _, hour := range answer.GetHours() {
				byHour[hour.GetHour()] += hour.GetByteSeconds()
			}
		},
	}
	for i, ns := range namespaces {
		batch.Queries[i] = shards.Query{Namespace: ns, Request: &internalv1.StoredUsageRequest{
			StartHour: first, EndHour: last + 1, NowMs: uint64(max(now.UnixMilli(), 0)),
		}}
	}
	if err := kv.router.QueryBatch(ctx, shard, batch); err != nil {
		return nil, err
	}
	return byHour, failed
}
