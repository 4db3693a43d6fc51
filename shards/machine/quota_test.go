package machine_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// within is a command for a namespace that may hold so much.
func within(keysMax, bytesMax uint64, c *internalv1.Command) *internalv1.Command {
	c.KeysMax, c.StoredBytesMax = keysMax, bytesMax
	return c
}

func requireQuota(t *testing.T, limit string, r machine.Result) {
	t.Helper()
	var quota *tenancy.QuotaError
	require.ErrorAs(t, r.Err, &quota)
	require.Equal(t, limit, quota.Limit)
}

func TestQuotaHoldsForEachNamespaceAndCommand(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	results := s.entry(
		1,
		within(1, 0, put(1, 1, "a", "1", "")),
		within(1, 0, put(1, 1, "b", "1", "")),
		within(1, 0, put(2, 1, "b", "1", "")),
		within(2, 3, put(1, 1, "b", "1", "")),
		within(2, 0, put(1, 1, "b", "1", "")),
		put(1, 1, "c", "1", ""),
	)
	require.NoError(t, results[0].Err)
	requireQuota(t, "keys_max", results[1])
	require.NoError(t, results[2].Err, "another namespace has its own")
	requireQuota(t, "stored_bytes_max", results[3])
	require.EqualValues(t, 3, revision(t, results[4]), "the command says what the bounds are, and refusals change nothing")
	require.NoError(t, results[5].Err)
}

func TestRefusalForWantOfQuotaIsNotKept(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(1, put(1, 1, "a", "1", ""))
	requireQuota(t, "keys_max", s.entry(2, within(1, 0, put(1, 1, "b", "1", "id")))[0])
	require.EqualValues(t, 3, revision(t, s.entry(3, within(2, 0, put(1, 1, "b", "1", "id")))[0]), "applied anew")
	require.EqualValues(t, 3, revision(t, s.entry(4, within(1, 0, put(1, 1, "b", "1", "id")))[0]),
		"an answer is kept, whatever the quota is now")
}

func TestLeasesEndWhateverTheQuota(t *testing.T) {
	t.Parallel()
	s := newShard(t)
	s.entry(1, grant(1, 7, 1), grant(1, 8, 1), putOn(1, 7, "a"), putOn(1, 8, "b"))
	results := s.entry(
		2,
		within(1, 1, revoke(1, 7)),
		within(1, 1, &internalv1.Command{NamespaceId: 1, Epoch: 1, Operation: &internalv1.Command_Compact{
			Compact: &flotillav1.CompactRequest{Revision: 2},
		}}),
		within(1, 1, &internalv1.Command{NamespaceId: 1, Epoch: 1, Operation: &internalv1.Command_Delete{
			Delete: &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: []byte("b")}},
		}}),
	)
	for _, r := range results {
		require.NoError(t, r.Err)
	}
}

func TestLevelsOfCommands(t *testing.T) {
	t.Parallel()
	level := func(c *internalv1.Command) uint32 {
		encoded, err := proto.Marshal(c)
		require.NoError(t, err)
		return machine.LevelOf(encoded)
	}
	require.EqualValues(t, 1, level(put(1, 1, "k", "v", "id")))
	require.EqualValues(t, 1, level(grant(1, 7, 1)))
	require.EqualValues(t, machine.LevelQuotas, level(within(1, 0, put(1, 1, "k", "v", ""))))
	require.EqualValues(t, machine.LevelQuotas, level(within(0, 1, put(1, 1, "k", "v", ""))))
	require.EqualValues(t, 2, level(&internalv1.Command{Operation: &internalv1.Command_DropNamespaceSlice{
		DropNamespaceSlice: &internalv1.DropNamespaceSlice{},
	}}))
	require.Greater(t, machine.LevelOf([]byte{0xfa, 0x3f, 1, 0}), uint32(machine.Level), "a field that this version does not know")
}
