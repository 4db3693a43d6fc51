package tenancy_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/flotillakv/flotilla/tenancy"
)

func TestDefaultLimits(t *testing.T) {
	t.Parallel()
	want := tenancy.Limits{
		KeyBytesMax:        4096,
		ValueBytesMax:      1_572_864,
		RequestBytesMax:    4_194_304,
		TxnOperationsMax:   128,
		BatchOperationsMax: 1_000,
		NamespacesMax:      1_000_000,
		RangeKeysMax:       10_000,
		LeasesMax:          1_000_000,
		WatchesMax:         100_000,
		WatchStreamsMax:    10_000,
	}
	require.Equal(t, want, tenancy.Limits{}.WithDefaults())

	own := tenancy.Limits{KeyBytesMax: 1}.WithDefaults()
	want.KeyBytesMax = 1
	require.Equal(t, want, own)
}

// TestLimitsProto gives every limit another value: one that is left out or
// swapped shows.
func TestLimitsProto(t *testing.T) {
	t.Parallel()
	limits := tenancy.Limits{
		KeyBytesMax: 1, ValueBytesMax: 2, RequestBytesMax: 3, TxnOperationsMax: 4,
		BatchOperationsMax: 5, NamespacesMax: 6, RangeKeysMax: 7, LeasesMax: 8, WatchesMax: 9, WatchStreamsMax: 10,
	}
	message := limits.Proto().ProtoReflect()
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		require.Equal(t, uint64(field.Number()), message.Get(field).Uint(), "%s", field.Name())
	}
	require.Equal(t, protoreflect.FieldNumber(10), fields.Get(fields.Len()-1).Number())
}

func TestLimitsChecks(t *testing.T) {
	t.Parallel()
	limits := tenancy.Limits{BatchOperationsMax: 2, NamespacesMax: 3}

	require.NoError(t, limits.CheckBatch(2))
	require.Equal(t, &tenancy.TooLargeError{Limit: "batch_operations_max", Value: 3, Max: 2}, limits.CheckBatch(3))
	require.NoError(t, limits.CheckNamespaces(1, 2))
	require.Equal(t, &tenancy.QuotaError{Limit: "namespaces_max", Value: 3}, limits.CheckNamespaces(2, 2))
}
