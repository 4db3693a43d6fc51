package catalog

import (
	"context"
	"fmt"

	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// Run drops cached records as they change, whoever changed them, until ctx
// ends. It reads the history, so no change is missed however late it comes.
func (c *Catalog) Run(ctx context.Context) error {
	changed, end := c.host.Observe(tenancy.SystemNamespace)
	defer end()
	var seen mvcc.Revision
	for {
		var err error
		if seen, err = c.follow(ctx, seen); err != nil && ctx.Err() == nil {
			return fmt.Errorf("follow the catalog: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// follow drops what changed after the revision seen, and returns the revision
// that is seen now.
func (c *Catalog) follow(ctx context.Context, seen mvcc.Revision) (mvcc.Revision, error) {
	var keys []string
	err := c.host.Read(ctx, shards.SystemShard, shards.Serializable, func(v *shards.View) error {
		space, state, err := v.Namespace(tenancy.SystemNamespace)
		if err != nil {
			return err
		}
		if seen == 0 || seen < state.CompactRevision {
			c.cache.dropAll()
			seen = state.Revision
			return nil
		}
		events := space.Events(seen + 1)
		for events.Next() {
			keys = append(keys, string(events.Key()))
		}
		seen = state.Revision
		return events.Close()
	})
	if len(keys) > 0 {
		c.cache.drop(keys)
	}
	return seen, err
}
