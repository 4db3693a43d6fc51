package peer_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway/peer"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
)

// TestAnotherNodeAtTheAddressIsAskedNothing: the address that a node had may be
// that of another one by now, of this cluster or of another.
func TestAnotherNodeAtTheAddressIsAskedNothing(t *testing.T) {
	t.Parallel()
	for name, who := range map[string]struct {
		cluster, node string
		meant         bool
	}{
		"the node":               {"cluster", there, true},
		"another node":           {"cluster", "node-elsewhere", false},
		"a node of another":      {"another", there, false},
		"both are somebody else": {"another", "node-elsewhere", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, func(pool *peer.PoolConfig, server *peer.ServerConfig) {
				pool.ClusterID = "cluster"
				server.ClusterID, server.NodeID = who.cluster, who.node
			})
			_, done := p.put("a", "key")
			if !who.meant {
				require.ErrorAs(t, result(t, done).Err, new(*shards.UnreachableError), "surely not applied")
				return
			}
			p.host.wait(t, 1)
			p.host.done(machine.Result{Response: &flotillav1.PutResponse{Revision: 9}})
			require.NoError(t, result(t, done).Err)
		})
	}
}
