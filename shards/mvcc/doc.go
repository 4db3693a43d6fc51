// Package mvcc is the multi-version key space of one namespace: what get,
// range, put, delete, transactions and compaction mean. It is pure: storage is
// the Reader and Writer that it is given, time and leases come in as arguments,
// and the same calls on the same state give the same state and answers (R4).
package mvcc

// Revision is a version of one namespace: an empty one is at revision 1 and
// each committed write that changes keys raises it by one, as in etcd.
type Revision uint64

// NoRevision, as the revision to read at, is the newest one.
const NoRevision Revision = 0
