package catalog

import (
	"context"
	"errors"
	"fmt"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
)

// keepStoredUsage writes down what a deleted namespace has stored, as its tenant's
// usage, before the data goes and the account of it with it. Done twice it writes the
// same; once a slice was dropped there is nothing more to ask for.
func (c *Catalog) keepStoredUsage(ctx context.Context, p Purge) error {
	now := uint64(max(c.now().UnixMilli(), 0))
	last := now / (3600 * 1000)
	response, err := c.host.Query(ctx, p.Shard, p.Namespace, shards.Linearizable, &internalv1.StoredUsageRequest{
		StartHour: last - min(last, usageHours), EndHour: last + 1, NowMs: now,
	})
	if _, dropped := errors.AsType[*machine.WrongEpochError](err); dropped {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what namespace %d has stored: %w", p.Namespace, err)
	}
	stored, ok := response.(*internalv1.StoredUsageResponse)
	if !ok {
		return fmt.Errorf("read what namespace %d has stored: the answer is a %T", p.Namespace, response)
	}
	var rows []UsageRow
	for _, hour := range stored.GetHours() {
		rows = append(rows, UsageRow{
			Tenant: p.Tenant, Hour: hour.GetHour(), Boot: fmt.Sprintf("namespace-%d", p.Namespace),
			Usage: &flotillav1.Usage{StoredByteSeconds: hour.GetByteSeconds()},
		})
	}
	for len(rows) > 0 {
		part := rows[:min(len(rows), UsageRowsMax)]
		if err := c.WriteUsage(ctx, part); err != nil {
			return err
		}
		rows = rows[len(part):]
	}
	return nil
}
