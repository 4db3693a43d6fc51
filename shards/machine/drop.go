package machine

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// dropNamespaceSlice removes a namespace. The rows of its own go at once, for
// they lie together; of those that lie among other namespaces' the slice looks at
// some. What stays is its epoch, and that it was dropped: a command that comes late
// would else find an empty namespace and bring it back to life. Kept answers to its
// requests are in rows that namespaces share, and are forgotten like others': nobody
// asks for them.
func (m *Machine) dropNamespaceSlice(b Batch, c *internalv1.Command, req *internalv1.DropNamespaceSlice) (proto.Message, error) {
	id := tenancy.NamespaceID(c.GetNamespaceId())
	if id == shardRows {
		return nil, &mvcc.InvalidError{Field: "namespace_id", Message: "must be set"}
	}
	ns, err := m.namespaces.get(b, id)
	if err != nil {
		return nil, err
	}
	if c.GetEpoch() < ns.epoch || c.GetEpoch() == ns.epoch && ns.drop == nil {
		return nil, &WrongEpochError{Epoch: ns.epoch}
	}
	if ns.drop == nil {
		if err := beginDrop(b, ns); err != nil {
			return nil, err
		}
	}
	ns.epoch = c.GetEpoch()
	m.namespaces.touch(ns)
	response := &internalv1.DropNamespaceSliceResponse{}
	budget := max(int(req.GetRowsMax()), 1)
	if response.Rows, err = m.dropRows(b, ns, budget); err != nil {
		return nil, err
	}
	response.More = !ns.drop.GetDone()
	return response, nil
}

// beginDrop removes the namespace's own rows, and makes it one that was dropped.
func beginDrop(b Batch, ns *namespace) error {
	ns.drop, ns.state, ns.ageBucket, ns.leases = &internalv1.NamespaceDrop{}, mvcc.NewState(), 0, 0
	ns.byteMS, ns.accountedMS, ns.written = 0, 0, ns.state.Revision
	if err := b.DropNamespace(ns.id); err != nil {
		return fmt.Errorf("drop a namespace: %w", err)
	}
	if err := b.DeleteRow(TablePurges, shardRows, namespaceKey(ns.id)); err != nil {
		return fmt.Errorf("drop a namespace's purge: %w", err)
	}
	return nil
}

// dropRows removes what the shard's own tables have of a namespace, and looks at
// budget rows for that. It goes on where it came to before: to look from the
// beginning would step over all that was removed already.
func (m *Machine) dropRows(b Batch, ns *namespace, budget int) (removed uint64, err error) {
	if ns.drop.GetDone() {
		return 0, nil
	}
	names, err := leasesAfter(b, ns.id, ns.drop.GetLeaseId(), budget)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if err := m.dropLease(b, name); err != nil {
			return 0, err
		}
		ns.drop.LeaseId = name.id
	}
	removed = uint64(len(names))
	for budget -= len(names); budget > 0; budget-- {
		next, found, err := dropAge(b, ns.id, ns.drop.GetAgeBucket())
		if err != nil {
			return 0, err
		}
		if found {
			removed++
		}
		if next == 0 {
			ns.drop = &internalv1.NamespaceDrop{Done: true}
			break
		}
		ns.drop.AgeBucket = next
	}
	return removed, nil
}

// leasesAfter lists the first leases of a namespace after an id.
func leasesAfter(b Batch, ns tenancy.NamespaceID, after int64, most int) (names []leaseName, err error) {
	it := b.Rows(TableLeases, shardRows, LeaseKey(ns, after+1), LeaseKey(ns+1, 0))
	for len(names) < most && it.Next() {
		var name leaseName
		if name.ns, name.id, err = DecodeLeaseKey(it.Key()); err != nil {
			return nil, errJoinClose(it, err)
		}
		names = append(names, name)
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("list the leases of a namespace: %w", err)
	}
	return names, nil
}

// dropLease removes a lease and leaves its keys alone.
func (m *Machine) dropLease(b Batch, name leaseName) error {
	m.leases.remove(name)
	if err := b.DeleteRow(TableLeases, shardRows, LeaseKey(name.ns, name.id)); err != nil {
		return fmt.Errorf("drop a lease: %w", err)
	}
	return nil
}

// dropAge removes the namespace's row of ages in a bucket, if it has one, and
// returns the next bucket in which there may be one, 0 for none.
func dropAge(b Batch, ns tenancy.NamespaceID, bucket uint64) (next uint64, found bool, err error) {
	own := AppendAgeKey(nil, bucket, ns)
	it := b.Rows(TableAges, shardRows, own, nil)
	var at uint64
	if it.Next() {
		at, found = binary.BigEndian.Uint64(it.Key()), string(it.Key()) == string(own)
		next = max(at, bucket+1)
	}
	if err := it.Close(); err != nil {
		return 0, false, fmt.Errorf("look for the ages of a namespace: %w", err)
	}
	if found {
		if err := b.DeleteRow(TableAges, shardRows, own); err != nil {
			return 0, false, fmt.Errorf("drop a row of ages: %w", err)
		}
	}
	return next, found, nil
}
