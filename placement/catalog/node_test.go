package catalog_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/placement/catalog/catalogtest"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/tenancy"
)

// TestRemoveNode: a node goes for good that is known, gone, and not the last.
func TestRemoveNode(t *testing.T) {
	t.Parallel()
	c, _ := newTimed(t)
	ctx := t.Context()
	add := func(id string, node *internalv1.NodeRecord) {
		records, err := c.Records(ctx)
		require.NoError(t, err)
		change := records.Change()
		change.PutNode(id, node)
		require.NoError(t, c.Commit(ctx, change))
	}
	require.ErrorIs(t, c.RemoveNode(ctx, "none"), catalog.ErrNodeNotFound)
	require.ErrorAs(t, c.RemoveNode(ctx, "one"), new(*tenancy.WrongStateError), "it gives no sign of life, and is all that there is")
	add("gateway", &internalv1.NodeRecord{Name: "two"})
	require.ErrorAs(t, c.RemoveNode(ctx, "one"), new(*tenancy.WrongStateError), "the other one has no replicas")
	add("host", &internalv1.NodeRecord{Name: "three", Hosts: true})
	require.NoError(t, c.RemoveNode(ctx, "one"))
	require.ErrorIs(t, c.RemoveNode(ctx, catalogtest.NodeID), catalog.ErrNodeRemoved)
	require.ErrorIs(t, c.RemoveNode(ctx, "one"), catalog.ErrNodeNotFound, "its name is free")
	require.ErrorAs(t, c.RemoveNode(ctx, "three"), new(*tenancy.WrongStateError))
	entries, _, err := c.ListAudit(ctx, catalog.AuditFilter{Limit: 100})
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, "one", entries[0].GetSubject())
}
