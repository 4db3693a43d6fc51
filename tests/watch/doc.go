// Package watch holds what watches of a real node show to what must hold, over
// concurrent writers, transactions, deletions, compaction, kill -9 and
// reconnecting, in the manner in which etcd validates its own watches:
//
//	ordered       revisions never go back within a watch
//	unique        no event is shown twice
//	atomic        the events of a revision come in one batch
//	reliable      nothing is left out between a watch's beginning and its end
//	resumable     a watch from the revision after a batch goes on exactly there
//	bookmarkable  no event follows at or below a revision that was told
//	filtered      only keys and kinds that were asked for
//	right         versions, creations, previous values are those of the history
//	durable       every acknowledged write is shown at its revision, as written
//
// check.go is these rules, over plain records; check_test.go plants a violation
// of each.
package watch
