package catalog

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// UsageRowsMax bounds the rows of one WriteUsage.
	UsageRowsMax = 100
	// usageHours is for how many hours usage is kept: 400 days.
	usageHours = 400 * 24
)

// UsageRow is what one process has counted for a tenant in an hour until now.
type UsageRow struct {
	Tenant tenancy.TenantID
	// Hour is counted since 1970.
	Hour uint64
	// Boot is the process; no two have the same.
	Boot  string
	Usage *flotillav1.Usage
	// First tells that the process writes the row for the first time. What the tenant
	// has of hours that are too old is removed with it.
	First bool
}

func usagePrefix(tenant tenancy.TenantID) string { return "usage/" + string(tenant) + "/" }

// usageHourKey is where the rows of an hour begin.
func usageHourKey(tenant tenancy.TenantID, hour uint64) string {
	return fmt.Sprintf("%s%08x/", usagePrefix(tenant), hour)
}

// WriteUsage writes rows, up to UsageRowsMax, all or none, over what they were. To
// write them again does no harm, so after an unknown outcome that is what to do.
func (c *Catalog) WriteUsage(ctx context.Context, rows []UsageRow) error {
	// With an id the host may send it again by itself.
	txn := &flotillav1.TxnRequest{RequestId: rand.Text()}
	for _, row := range rows {
		value, err := proto.Marshal(&internalv1.UsageRecord{Usage: row.Usage})
		if err != nil {
			return fmt.Errorf("encode a tenant's usage: %w", err)
		}
		txn.Success = append(txn.Success, &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Put{
			Put: &flotillav1.PutRequest{Key: []byte(usageHourKey(row.Tenant, row.Hour) + row.Boot), Value: value},
		}})
		if row.First && row.Hour > usageHours {
			txn.Success = append(txn.Success, removeUsage(row.Tenant, row.Hour-usageHours))
		}
	}
	_, err := c.proposeIn(ctx, tenancy.LedgerNamespace, &internalv1.Command{Operation: &internalv1.Command_Txn{Txn: txn}})
	return err
}

// removeUsage removes a tenant's rows of before an hour. They were removed up to the
// hour before, mostly, so they are few.
func removeUsage(tenant tenancy.TenantID, before uint64) *flotillav1.TxnOperation {
	return &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Delete{Delete: &flotillav1.DeleteRequest{
		Target: &flotillav1.DeleteRequest_Range{Range: &flotillav1.KeyRange{
			Start: []byte(usagePrefix(tenant)), End: []byte(usageHourKey(tenant, before)),
		}},
	}}}
}

// UsageHour is what a tenant has used in an hour.
type UsageHour struct {
	// Hour is counted since 1970.
	Hour  uint64
	Usage *flotillav1.Usage
}

// Usage is what all processes have written of a tenant's usage in the hours from
// first to last, in their order; those without usage are left out.
func (c *Catalog) Usage(ctx context.Context, tenant tenancy.TenantID, first, last uint64) ([]UsageHour, error) {
	prefix := usagePrefix(tenant)
	var hours []UsageHour
	// The name before the first hour's rows is one that none has.
	part := span{
		in: tenancy.LedgerNamespace, prefix: prefix,
		after: fmt.Sprintf("%08x", first), before: fmt.Sprintf("%08x", last+1),
	}
	_, err := c.list(ctx, part, func(name string, kv *flotillav1.KeyValue) error {
		text, _, _ := strings.Cut(name, "/")
		hour, err := strconv.ParseUint(text, 16, 64)
		if err != nil {
			return fmt.Errorf("the ledger has usage without an hour: %w", err)
		}
		r, err := decode("tenant's usage", kv.GetValue(), &internalv1.UsageRecord{})
		if err != nil {
			return err
		}
		if n := len(hours); n == 0 || hours[n-1].Hour != hour {
			hours = append(hours, UsageHour{Hour: hour, Usage: &flotillav1.Usage{}})
		}
		AddUsage(hours[len(hours)-1].Usage, r.GetUsage())
		return nil
	})
	return hours, err
}

// AddUsage adds usage to a sum.
func AddUsage(sum, more *flotillav1.Usage) {
	sum.Requests += more.GetRequests()
	sum.ReadUnits += more.GetReadUnits()
	sum.WriteUnits += more.GetWriteUnits()
	sum.BytesIn += more.GetBytesIn()
	sum.BytesOut += more.GetBytesOut()
	sum.WatchSeconds += more.GetWatchSeconds()
	sum.Messages += more.GetMessages()
	sum.StoredByteSeconds += more.GetStoredByteSeconds()
}

// NamespacesByShard is where a page of a tenant's namespaces live: at most limit of
// them after the name after, and the name to go on after; "" if there are no more.
func (c *Catalog) NamespacesByShard(
	ctx context.Context, tenant tenancy.TenantID, after string, limit uint64,
) (byShard map[shards.ShardID][]tenancy.NamespaceID, next string, err error) {
	byShard = make(map[shards.ShardID][]tenancy.NamespaceID)
	part := span{prefix: namespacePrefix(tenant), after: after, limit: limit}
	more, err := c.list(ctx, part, func(name string, kv *flotillav1.KeyValue) error {
		r, err := decode("namespace", kv.GetValue(), &internalv1.NamespaceRecord{})
		shard := shards.ShardID(r.GetShardId())
		byShard[shard] = append(byShard[shard], tenancy.NamespaceID(r.GetId()))
		next = name
		return err
	})
	if !more {
		next = ""
	}
	return byShard, next, err
}
