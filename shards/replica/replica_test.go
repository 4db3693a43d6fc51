package replica_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lni/dragonboat/v4/statemachine"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/replica"
	"github.com/flotillakv/flotilla/shards/store"
	"github.com/flotillakv/flotilla/shards/store/storetest"
	"github.com/flotillakv/flotilla/shards/watch"
)

const shardID = 7

// recorder keeps what a replica tells, by the sequence number of the entry.
type recorder struct {
	t       require.TestingT
	results map[uint64][]machine.Result
}

func (r *recorder) Applied(h machine.Header, results []machine.Result) {
	r.results[h.Sequence] = append([]machine.Result(nil), results...)
}
func (r *recorder) Halted(err error) { require.NoError(r.t, err) }

// instance is a replica on a file system in memory that can crash.
type instance struct {
	t       require.TestingT
	disk    *storetest.Disk
	store   *store.Store
	replica *replica.Replica
	told    *recorder
	applied uint64
}

// unwatched is a hub without watches.
func unwatched() *watch.Hub {
	accounts := &watch.Accounts{}
	return watch.NewHub(watch.Config{}, accounts, watch.NewMetrics(prometheus.NewRegistry(), accounts), nil)
}

func newInstance(t require.TestingT) *instance {
	in := &instance{t: t, disk: storetest.NewDisk(), told: &recorder{t: t, results: map[uint64][]machine.Result{}}}
	in.open()
	return in
}

func (in *instance) open() {
	var err error
	in.store, err = store.Open(in.disk.Config())
	require.NoError(in.t, err)
	in.replica = replica.New(in.store.Shard(shardID), replica.NewClock(replica.SystemMonotonic()), in.told, unwatched())
	in.applied, err = in.replica.Open(nil)
	require.NoError(in.t, err)
}

// crash loses what was not flushed, and opens what is left.
func (in *instance) crash(rng *rand.Rand) {
	left := in.disk.Crash(rng)
	require.NoError(in.t, in.store.Close())
	in.disk = left
	in.open()
}

// apply hands over log[applied:upTo] in chunks of random sizes.
func (in *instance) apply(log [][]byte, upTo int, rng *rand.Rand) {
	for in.applied < uint64(upTo) {
		n := min(1+rng.IntN(5), upTo-int(in.applied))
		var entries []statemachine.Entry
		for i := range n {
			index := in.applied + uint64(i) + 1
			entries = append(entries, statemachine.Entry{Index: index, Cmd: log[index-1]})
		}
		_, err := in.replica.Update(entries)
		require.NoError(in.t, err)
		in.applied += uint64(n)
	}
}

func (in *instance) hash() store.Hash {
	h, err := in.store.Shard(shardID).Hash()
	require.NoError(in.t, err)
	return h
}

// anyCommand is a command over few namespaces and keys, so that they meet.
func anyCommand(t *rapid.T) *internalv1.Command {
	c := &internalv1.Command{NamespaceId: uint64(rapid.IntRange(1, 3).Draw(t, "namespace")), Epoch: 1}
	key := []byte(rapid.SampledFrom([]string{"a", "ab", "b", "b\x00", "c"}).Draw(t, "key"))
	var requestID string
	if rapid.Bool().Draw(t, "has request id") {
		requestID = fmt.Sprint("r", rapid.IntRange(0, 20).Draw(t, "request"))
	}
	put := &flotillav1.PutRequest{Key: key, Value: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "value")}
	lease := int64(rapid.IntRange(1, 4).Draw(t, "lease"))
	switch rapid.IntRange(0, 14).Draw(t, "kind") {
	default:
		put.RequestId = requestID
		if rapid.Bool().Draw(t, "on a lease") {
			put.Lease = lease
		}
		put.PrevKv = rapid.Bool().Draw(t, "prev")
		c.Operation = &internalv1.Command_Put{Put: put}
	case 5, 6:
		c.Operation = &internalv1.Command_Delete{Delete: &flotillav1.DeleteRequest{
			RequestId: requestID, Target: &flotillav1.DeleteRequest_Range{Range: &flotillav1.KeyRange{Prefix: key[:1]}},
		}}
	case 7:
		c.Operation = &internalv1.Command_Txn{Txn: &flotillav1.TxnRequest{
			RequestId: requestID,
			Compare: []*flotillav1.Compare{{
				Subject: &flotillav1.Compare_Key{Key: key}, Relation: flotillav1.Compare_RELATION_GREATER,
				Target: &flotillav1.Compare_Version{Version: uint64(rapid.IntRange(0, 2).Draw(t, "version"))},
			}},
			Success: []*flotillav1.TxnOperation{
				{Operation: &flotillav1.TxnOperation_Put{Put: put}},
				{Operation: &flotillav1.TxnOperation_Range{Range: &flotillav1.RangeRequest{}}},
			},
		}}
	case 8:
		c.Operation = &internalv1.Command_Compact{Compact: &flotillav1.CompactRequest{
			RequestId: requestID, Revision: uint64(rapid.IntRange(0, 40).Draw(t, "revision")),
		}}
	case 9:
		c = &internalv1.Command{Operation: &internalv1.Command_PurgeSlice{
			PurgeSlice: &internalv1.PurgeSlice{EventsMax: uint32(rapid.IntRange(1, 8).Draw(t, "events"))},
		}}
		if rapid.Bool().Draw(t, "aged") {
			c.Operation = &internalv1.Command_CompactAged{CompactAged: &internalv1.CompactAged{
				BeforeMs: uint64(rapid.IntRange(0, 100).Draw(t, "before")) * machine.AgeBucketMS / 4, NamespacesMax: 2,
			}}
		}
	case 10:
		c.Operation = &internalv1.Command_GrantLease{GrantLease: &internalv1.GrantLease{
			Request: &flotillav1.GrantLeaseRequest{
				RequestId: requestID, Id: lease,
				Ttl: &durationpb.Duration{Seconds: int64(rapid.IntRange(1, 20).Draw(t, "ttl"))},
			},
			LeasesMax: 3,
		}}
	case 11:
		c.Operation = &internalv1.Command_KeepAlive{KeepAlive: &flotillav1.KeepAliveRequest{Ids: []int64{lease, 1, lease}}}
	case 12:
		c.Operation = &internalv1.Command_RevokeLease{RevokeLease: &flotillav1.RevokeLeaseRequest{RequestId: requestID, Id: lease}}
	case 13:
		c = &internalv1.Command{Operation: &internalv1.Command_ExpireLeases{ExpireLeases: &internalv1.ExpireLeases{
			LeasesMax: uint32(rapid.IntRange(0, 3).Draw(t, "leases")), KeysMax: uint32(rapid.IntRange(0, 3).Draw(t, "keys")),
		}}}
	case 14:
		c = &internalv1.Command{Operation: &internalv1.Command_RaiseLevel{RaiseLevel: &internalv1.RaiseLevel{
			Level: uint32(rapid.IntRange(1, machine.Level).Draw(t, "level")),
		}}}
	}
	return c
}

func anyLog(t *rapid.T) [][]byte {
	var log [][]byte
	for i := range rapid.IntRange(1, 40).Draw(t, "entries") {
		if rapid.IntRange(0, 9).Draw(t, "empty") == 0 {
			log = append(log, nil) // as Raft itself writes
			continue
		}
		entry := machine.AppendHeader(nil, machine.Header{
			Proposer: 1, Sequence: uint64(i),
			// Clocks of leaders jump; the machine's never goes back.
			TimeMS:  uint64(rapid.IntRange(0, 100).Draw(t, "time")) * machine.AgeBucketMS / 4,
			ClockMS: uint64(rapid.IntRange(0, 40).Draw(t, "clock")) * 1000,
		})
		for range rapid.IntRange(1, 6).Draw(t, "commands") {
			encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(anyCommand(t))
			require.NoError(t, err)
			entry = machine.AppendCommand(entry, encoded)
		}
		log = append(log, entry)
	}
	return log
}

// The goal is R4 and R1: the same log gives the same bytes and answers however
// it is cut into batches, wherever the process crashes and loses what was not
// flushed, and also on a replica that got a snapshot half-way.
func TestSameLogGivesTheSameStateOverCrashesAndSnapshots(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		log := anyLog(t)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))

		straight := newInstance(t)
		straight.apply(log, len(log), rng)
		want := straight.hash()

		crashing := newInstance(t)
		for crashing.applied < uint64(len(log)) {
			crashing.apply(log, min(int(crashing.applied)+1+rng.IntN(12), len(log)), rng)
			switch rng.IntN(3) {
			case 0:
				require.NoError(t, crashing.replica.Sync())
				flushed := crashing.applied
				crashing.crash(rng)
				require.Equal(t, flushed, crashing.applied, "a crash loses nothing that was synced")
			case 1:
				if rng.IntN(4) == 0 { // not always, or it might never end
					crashing.crash(rng)
				}
			}
		}
		require.Equal(t, want, crashing.hash())

		receiver := newInstance(t)
		receiver.apply(log, rng.IntN(len(log)+1), rng) // state to be replaced
		sender := newInstance(t)
		sender.apply(log, rng.IntN(len(log)+1), rng)
		receiver.receive(sender)
		receiver.apply(log, len(log), rng)
		require.Equal(t, want, receiver.hash())

		for _, other := range []*instance{crashing, receiver} {
			for sequence, results := range other.told.results {
				require.Empty(t, cmp.Diff(straight.told.results[sequence], results, protocmp.Transform(),
					cmp.Comparer(func(a, b error) bool { return fmt.Sprint(a) == fmt.Sprint(b) })))
			}
			require.NoError(t, other.store.Close())
		}
		require.NoError(t, straight.store.Close())
		require.NoError(t, sender.store.Close())
	})
}

// receive takes over another replica's state by a snapshot, as Raft does it.
func (in *instance) receive(from *instance) {
	prepared, err := from.replica.PrepareSnapshot()
	require.NoError(in.t, err)
	var stream bytes.Buffer
	require.NoError(in.t, from.replica.SaveSnapshot(prepared, &stream, nil))
	require.NoError(in.t, in.replica.RecoverFromSnapshot(&stream, nil))
	in.applied = in.replica.AppliedIndex()
	require.Equal(in.t, from.replica.AppliedIndex(), in.applied)
}

func TestRefusedSnapshotLeavesTheReplicaAsItWas(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	command, err := proto.Marshal(&internalv1.Command{NamespaceId: 1, Epoch: 1, Operation: &internalv1.Command_Put{
		Put: &flotillav1.PutRequest{Key: []byte("k"), Value: []byte("v")},
	}})
	require.NoError(t, err)
	entry := machine.AppendCommand(machine.AppendHeader(nil, machine.Header{Sequence: 1}), command)
	in.apply([][]byte{entry}, 1, rand.New(rand.NewPCG(1, 1)))
	before := in.hash()
	prepared, err := in.replica.PrepareSnapshot()
	require.NoError(t, err)
	var stream bytes.Buffer
	require.NoError(t, in.replica.SaveSnapshot(prepared, &stream, nil))
	for _, at := range []int{0, 5, stream.Len() / 2, stream.Len() - 1} {
		bad := bytes.Clone(stream.Bytes())
		bad[at] ^= 0x40
		var corrupt *store.CorruptSnapshotError
		require.ErrorAs(t, in.replica.RecoverFromSnapshot(bytes.NewReader(bad), nil), &corrupt)
		require.Equal(t, before, in.hash())
	}
	require.NoError(t, in.store.Flush(context.Background()))
	require.NoError(t, in.store.Close())
}
