package tenancy

import flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"

// Limits are what a tenant may do at most. They are enforced where a request
// enters, so a limit that is lowered leaves what is stored as it is. A field
// that is 0 stands for its default.
type Limits struct {
	// KeyBytesMax is the longest key, in bytes. Default 4 KiB.
	KeyBytesMax int
	// ValueBytesMax is the longest value, in bytes. Default 1.5 MiB.
	ValueBytesMax int
	// RequestBytesMax is the largest request, in bytes. Default 4 MiB.
	RequestBytesMax int
	// TxnOperationsMax is the operations of one transaction. Default 128.
	TxnOperationsMax int
	// BatchOperationsMax is the operations of one batch. Default 1,000.
	BatchOperationsMax int
	// NamespacesMax is the namespaces of the tenant. Default 1,000,000.
	NamespacesMax int
	// RangeKeysMax is the keys in one answer of Range. Default 10,000.
	RangeKeysMax int
	// LeasesMax is the leases of one namespace, each of which takes memory on
	// the nodes of its shard. Default 1,000,000.
	LeasesMax int
	// WatchesMax is the watches that are open on one node. Default 100,000.
	WatchesMax int
	// WatchStreamsMax is the streams that these watches are on, on one node: each
	// takes memory while its caller is slow. Default 10,000.
	WatchStreamsMax int
}

// WithDefaults returns the limits with a default for each that is not set.
func (l Limits) WithDefaults() Limits {
	set := func(limit *int, value int) {
		if *limit == 0 {
			*limit = value
		}
	}
	set(&l.KeyBytesMax, 4<<10)
	set(&l.ValueBytesMax, 3<<19)
	set(&l.RequestBytesMax, 4<<20)
	set(&l.TxnOperationsMax, 128)
	set(&l.BatchOperationsMax, 1_000)
	set(&l.NamespacesMax, 1_000_000)
	set(&l.RangeKeysMax, 10_000)
	set(&l.LeasesMax, 1_000_000)
	set(&l.WatchesMax, 100_000)
	set(&l.WatchStreamsMax, 10_000)
	return l
}

// Proto returns the limits as the API tells them.
func (l Limits) Proto() *flotillav1.Limits {
	return &flotillav1.Limits{
		KeyBytesMax:        uint64(l.KeyBytesMax),
		ValueBytesMax:      uint64(l.ValueBytesMax),
		RequestBytesMax:    uint64(l.RequestBytesMax),
		TxnOperationsMax:   uint64(l.TxnOperationsMax),
		BatchOperationsMax: uint64(l.BatchOperationsMax),
		NamespacesMax:      uint64(l.NamespacesMax),
		RangeKeysMax:       uint64(l.RangeKeysMax),
		LeasesMax:          uint64(l.LeasesMax),
		WatchesMax:         uint64(l.WatchesMax),
		WatchStreamsMax:    uint64(l.WatchStreamsMax),
	}
}

// CheckBatch refuses a batch of so many operations with a *TooLargeError.
func (l Limits) CheckBatch(operations int) error {
	return checkSize("batch_operations_max", operations, l.BatchOperationsMax)
}

func checkSize(limit string, value, most int) error {
	if value > most {
		return &TooLargeError{Limit: limit, Value: uint64(value), Max: uint64(most)}
	}
	return nil
}

// CheckNamespaces refuses, with a *QuotaError, that a tenant of so many
// namespaces gets more of them.
func (l Limits) CheckNamespaces(have uint64, more int) error {
	if have+uint64(more) > uint64(l.NamespacesMax) {
		return &QuotaError{Limit: "namespaces_max", Value: uint64(l.NamespacesMax)}
	}
	return nil
}
