package machine

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// stateFormat is the version of what this package stores. A shard written by
// a newer version is refused, never guessed at.
const stateFormat = 1

// Result is the answer to one command: a response message of flotilla.v1 or
// internal.v1, or a refusal.
type Result struct {
	Response proto.Message
	// Err is nil or a refusal (mvcc.IsRefusal); nothing was changed then.
	Err error
}

// Change says that a namespace got new revisions, up to this one.
type Change struct {
	Namespace tenancy.NamespaceID
	Revision  mvcc.Revision
	// Dropped says that it was removed instead.
	Dropped bool
}

// A Machine applies log entries. Its memory is a cache of rows, which Load
// builds anew: the counters of some namespaces, the index of kept answers, whose
// size is bounded, and all leases, which tenants' limits bound.
//
// Not safe for concurrent use: entries are applied one after the other.
type Machine struct {
	shard      internalv1.ShardState
	namespaces *namespaceCache
	requests   *requestIndex
	leases     *leaseTable
	command    internalv1.Command // reused by Apply
}

// New makes a machine that must be loaded before it is used.
func New() *Machine {
	return &Machine{
		namespaces: newNamespaceCache(namespacesCachedMax), requests: newRequestIndex(answersKeptMax), leases: newLeaseTable(),
	}
}

// Load drops what the machine remembers and reads the shard's rows: when a
// replica opens, and after its state was replaced by a snapshot. It returns
// the index of the last applied entry, 0 for a new shard.
func (m *Machine) Load(rows Rows) (applied uint64, err error) {
	m.shard.Reset()
	m.namespaces = newNamespaceCache(namespacesCachedMax)
	m.requests = newRequestIndex(m.requests.max)
	m.leases = newLeaseTable()
	value, ok, err := rows.Row(TableState, shardRows, nil)
	if err != nil {
		return 0, fmt.Errorf("load the shard's state: %w", err)
	}
	if !ok {
		m.shard.Format = stateFormat
		return 0, nil
	}
	if err := proto.Unmarshal(value, &m.shard); err != nil {
		return 0, fmt.Errorf("decode the shard's state: %w", err)
	}
	if m.shard.GetFormat() > stateFormat {
		return 0, fmt.Errorf("the shard's state has format %d, this version knows %d: start the newer version again", m.shard.GetFormat(), stateFormat)
	}
	if m.shard.GetLevel() > Level {
		return 0, fmt.Errorf("the shard is at feature level %d, this version knows %d: start the newer version again", m.shard.GetLevel(), Level)
	}
	if err := m.requests.load(rows); err != nil {
		return 0, err
	}
	if err := m.leases.load(rows); err != nil {
		return 0, err
	}
	return m.shard.GetAppliedIndex(), nil
}

// Applied is the index of the last applied entry.
func (m *Machine) Applied() uint64 { return m.shard.GetAppliedIndex() }

// Now is the machine's time in milliseconds since 1970: the greatest time of
// the entries applied so far. It never goes backwards.
func (m *Machine) Now() uint64 { return m.shard.GetTimeMs() }

// ShardLevel is the feature level that the shard has come to, 0 for the first one.
func (m *Machine) ShardLevel() uint32 { return m.shard.GetLevel() }

// Clock is the shard's clock in milliseconds as of the entries applied so far.
// It never goes backwards.
func (m *Machine) Clock() uint64 { return m.shard.GetClockMs() }

// Apply runs the commands of the entry at index and appends their results to
// dst. An empty entry, as Raft itself writes, has none. Effects go into the
// batch; Finish completes it.
func (m *Machine) Apply(b Batch, index uint64, entry []byte, dst []Result) ([]Result, error) {
	if index <= m.shard.GetAppliedIndex() {
		return nil, fmt.Errorf("entry %d after %d was applied", index, m.shard.GetAppliedIndex())
	}
	m.shard.AppliedIndex = index
	if len(entry) == 0 {
		return dst, nil
	}
	header, commands, err := DecodeHeader(entry)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	m.shard.TimeMs = max(m.shard.GetTimeMs(), header.TimeMS)
	m.shard.ClockMs = max(m.shard.GetClockMs(), header.ClockMS)
	for raw, err := range splitCommands(commands) {
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", index, err)
		}
		result, err := m.applyCommand(b, raw)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", index, err)
		}
		dst = append(dst, result)
	}
	if err := m.requests.endEntry(b, m.namespaces, index, m.Now(), m.shard.GetLevel() >= levelFairAnswers); err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	return dst, nil
}

// Finish writes what the entries applied since the last Finish changed in the
// counters, and the applied index (R1), and returns which namespaces have new
// revisions. The caller commits the batch next.
func (m *Machine) Finish(b Batch, dst []Change) ([]Change, error) {
	dst, err := m.namespaces.flush(b, dst)
	if err != nil {
		return nil, err
	}
	value, err := proto.Marshal(&m.shard)
	if err != nil {
		return nil, fmt.Errorf("encode the shard's state: %w", err)
	}
	return dst, b.SetRow(TableState, shardRows, nil, value)
}

// applyCommand runs one command. Its error is never a refusal.
func (m *Machine) applyCommand(b Batch, raw []byte) (Result, error) {
	// A command's messages become part of its answer's life no longer than
	// this call, so the envelope is reused; what it holds is made anew.
	m.command.Reset()
	if err := proto.Unmarshal(raw, &m.command); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrBadEntry, err)
	}
	response, err := m.dispatch(b, &m.command)
	switch {
	case err == nil:
		return Result{Response: response}, nil
	case mvcc.IsRefusal(err):
		return Result{Err: err}, nil
	default:
		return Result{}, err
	}
}

// dispatch is the table of contents of the machine: a line for each command.
// An unknown one halts the replica, because skipping it would make it differ.
func (m *Machine) dispatch(b Batch, c *internalv1.Command) (proto.Message, error) {
	switch op := c.GetOperation().(type) {
	case *internalv1.Command_Put:
		return mutate(m, b, c, op.Put, kindPut, putKey)
	case *internalv1.Command_Delete:
		return mutate(m, b, c, op.Delete, kindDelete, deleteKeys)
	case *internalv1.Command_Txn:
		return mutate(m, b, c, op.Txn, kindTxn, runTxn)
	case *internalv1.Command_Compact:
		return mutate(m, b, c, op.Compact, kindCompact, compact)
	case *internalv1.Command_PurgeSlice:
		return m.purgeSlice(b, op.PurgeSlice)
	case *internalv1.Command_CompactAged:
		return m.compactAged(b, op.CompactAged)
	case *internalv1.Command_GrantLease:
		return mutate(m, b, c, op.GrantLease.GetRequest(), kindGrantLease, grantLease(op.GrantLease.GetLeasesMax()))
	case *internalv1.Command_KeepAlive:
		return m.keepAlive(b, c, op.KeepAlive)
	case *internalv1.Command_RevokeLease:
		return mutate(m, b, c, op.RevokeLease, kindRevokeLease, revokeLease)
	case *internalv1.Command_ExpireLeases:
		return m.expireLeases(b, op.ExpireLeases)
	case *internalv1.Command_DropNamespaceSlice:
		return m.dropNamespaceSlice(b, c, op.DropNamespaceSlice)
	case *internalv1.Command_RaiseLevel:
		return m.raiseLevel(op.RaiseLevel)
	default:
		return nil, fmt.Errorf("%w: unknown command: a newer version wrote it", ErrBadEntry)
	}
}
