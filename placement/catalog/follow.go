package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// Run drops cached records as they change, whoever changed them, until ctx ends
// or the node stops.
func (c *Catalog) Run(ctx context.Context) error {
	for {
		err := c.follow(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, shards.ErrStopping):
			return nil //nolint:nilerr // it was to end
		case errors.As(err, new(*mvcc.CompactedError)):
			// Changes were missed: it begins anew, without what it remembers.
		default:
			return fmt.Errorf("follow the catalog: %w", err)
		}
	}
}

// follow watches the system namespace until the watch ends, and returns why.
func (c *Catalog) follow(ctx context.Context) error {
	hub, err := c.host.Watches(shards.SystemShard)
	if err != nil {
		return err
	}
	stream := watch.NewStream(watch.StreamConfig{})
	defer stream.Close()
	owner := watch.Owner{Tenant: tenancy.SystemTenant, Namespace: tenancy.SystemNamespace}
	if err := stream.Create(hub, owner, watch.Spec{}); err != nil {
		return err
	}
	c.cache.dropAll() // what was read before is not watched
	var answers []watch.Answer
	for {
		if answers, err = stream.Next(ctx, answers[:0]); err != nil {
			return err
		}
		for _, a := range answers {
			if a.Canceled {
				return a.Err
			}
			c.dropChanged(a.Events)
		}
		clear(answers)
	}
}

func (c *Catalog) dropChanged(events []*watch.Event) {
	if len(events) == 0 {
		return
	}
	keys := make([]string, len(events))
	for i, e := range events {
		keys[i] = string(e.Key)
	}
	c.cache.drop(keys)
}
