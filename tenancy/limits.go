package tenancy

import (
	"math"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

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
	// RequestsPerSecond is the requests over all nodes; 0 is no limit, as for all
	// that follow but ConnectionsMax. Each operation of a batch or pipeline is one.
	RequestsPerSecond int
	// RequestsBurst is the requests that may come at once after a pause. Default
	// those of a second.
	RequestsBurst int
	// BytesPerSecond is the bytes of requests, answers and told changes over all
	// nodes.
	BytesPerSecond int
	// BytesBurst is the bytes that may come at once after a pause. Default those
	// of a second, and no less than the largest request.
	BytesBurst int
	// StoredBytesMax is the bytes that one namespace stores: the newest versions
	// of its keys.
	StoredBytesMax int
	// KeysMax is the keys of one namespace.
	KeysMax int
	// ConnectionsMax is the connections to one node. Default 10,000.
	ConnectionsMax int
	// MessagesMax is the messages that wait in one queue. It is not used yet.
	MessagesMax int
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
	set(&l.ConnectionsMax, 10_000)
	set(&l.RequestsBurst, l.RequestsPerSecond)
	if l.BytesPerSecond > 0 {
		set(&l.BytesBurst, max(l.BytesPerSecond, l.RequestBytesMax))
	}
	return l
}

// fields pairs the limits with those of the API.
func (l *Limits) fields(p *flotillav1.Limits) []limitField {
	return []limitField{
		{&l.KeyBytesMax, &p.KeyBytesMax},
		{&l.ValueBytesMax, &p.ValueBytesMax},
		{&l.RequestBytesMax, &p.RequestBytesMax},
		{&l.TxnOperationsMax, &p.TxnOperationsMax},
		{&l.BatchOperationsMax, &p.BatchOperationsMax},
		{&l.NamespacesMax, &p.NamespacesMax},
		{&l.RangeKeysMax, &p.RangeKeysMax},
		{&l.LeasesMax, &p.LeasesMax},
		{&l.WatchesMax, &p.WatchesMax},
		{&l.WatchStreamsMax, &p.WatchStreamsMax},
		{&l.RequestsPerSecond, &p.RequestsPerSecond},
		{&l.RequestsBurst, &p.RequestsBurst},
		{&l.BytesPerSecond, &p.BytesPerSecond},
		{&l.BytesBurst, &p.BytesBurst},
		{&l.StoredBytesMax, &p.StoredBytesMax},
		{&l.KeysMax, &p.KeysMax},
		{&l.ConnectionsMax, &p.ConnectionsMax},
		{&l.MessagesMax, &p.MessagesMax},
	}
}

// limitField is one limit, here and in the API.
type limitField struct {
	limit *int
	told  *uint64
}

// Proto returns the limits as the API tells them.
func (l Limits) Proto() *flotillav1.Limits {
	p := &flotillav1.Limits{}
	for _, f := range l.fields(p) {
		*f.told = uint64(*f.limit)
	}
	return p
}

// Override returns the limits with those of own that are not 0 in their place.
func (l Limits) Override(own *flotillav1.Limits) Limits {
	if own == nil {
		return l
	}
	for _, f := range l.fields(own) {
		if *f.told != 0 {
			*f.limit = int(min(*f.told, math.MaxInt))
		}
	}
	return l
}

// RequestBytesRead is the largest request that any port reads, in bytes.
const RequestBytesRead = 4 << 20

// CheckRequest refuses a request that is larger than the tenant's with a
// *TooLargeError. The size is asked for only if the tenant's limit is below what is
// read at all.
func (l Limits) CheckRequest(size func() int) error {
	if l.RequestBytesMax >= RequestBytesRead {
		return nil
	}
	return checkSize("request_bytes_max", size(), l.RequestBytesMax)
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
