// Package mvcc is the multi-version key space of one namespace: what get,
// range, put, delete, transactions and compaction mean. It is pure: storage is
// the Reader and Writer that it is given, time and leases come in as arguments,
// and the same calls on the same state give the same state and answers (R4).
//
// A key is stored as one version for each revision that wrote it, a deletion as
// a tombstone, beside a history of which key changed at which revision. Reading
// at a revision is finding, for each key, its newest version at or below it.
// Compaction only moves the bound below which reads are refused; Purge reclaims
// in pieces what then is out of reach.
//
// Errors that are refusals (IsRefusal) are answers: nothing was changed. All
// others are failures of storage, after which the batch and the State must be
// thrown away.
//
// Requests mean what they mean in etcd, except that
//
//   - a comparison over a range holds when there are no keys in it (etcd
//     compares a key that does not exist);
//   - the comparisons of a nested transaction see what was written before them
//     (etcd makes all comparisons before the first write);
//   - a range that ends before it starts is refused (etcd finds it empty);
//   - a nested transaction that deletes what an earlier one beside it puts is
//     refused as a duplicate key, like the other way round;
//   - what one request may cost is bounded: see TxnKeysMax and its neighbours.
package mvcc

// Revision is a version of one namespace: an empty one is at revision 1 and
// each committed write that changes keys raises it by one, as in etcd.
type Revision uint64

// NoRevision is the revision to read at when the newest is meant.
const NoRevision Revision = 0
