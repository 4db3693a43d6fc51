package tenancy_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
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
		ConnectionsMax:     10_000,
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
		RequestsPerSecond: 11, RequestsBurst: 12, BytesPerSecond: 13, BytesBurst: 14, StoredBytesMax: 15, KeysMax: 16,
		ConnectionsMax: 17, MessagesMax: 18,
	}
	message := limits.Proto().ProtoReflect()
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		require.Equal(t, uint64(field.Number()), message.Get(field).Uint(), "%s", field.Name())
	}
	require.Equal(t, protoreflect.FieldNumber(18), fields.Get(fields.Len()-1).Number())
	require.Equal(t, limits, tenancy.Limits{}.Override(limits.Proto()))
	require.Equal(t, limits, limits.Override(nil))
	require.Equal(t, limits, limits.Override(&flotillav1.Limits{}))
}

func TestPlans(t *testing.T) {
	t.Parallel()
	for _, plan := range []string{tenancy.PlanFree, tenancy.PlanStandard, tenancy.PlanUnlimited, ""} {
		limits, err := tenancy.PlanLimits(plan)
		require.NoError(t, err)
		require.Equal(t, limits.WithDefaults(), limits)
	}
	_, err := tenancy.PlanLimits("gold")
	require.Equal(t, &tenancy.PlanNotFoundError{Plan: "gold"}, err)
	require.ErrorContains(t, err, "it takes free, standard, unlimited")
}

func TestLimitsChecks(t *testing.T) {
	t.Parallel()
	limits := tenancy.Limits{BatchOperationsMax: 2, NamespacesMax: 3}

	require.NoError(t, tenancy.Limits{}.WithDefaults().CheckRequest(func() int { t.Error("asked in vain"); return 0 }))
	small := tenancy.Limits{RequestBytesMax: 10}
	require.NoError(t, small.CheckRequest(func() int { return 10 }))
	require.Equal(t, &tenancy.TooLargeError{Limit: "request_bytes_max", Value: 11, Max: 10}, small.CheckRequest(func() int { return 11 }))
	require.NoError(t, limits.CheckBatch(2))
	require.Equal(t, &tenancy.TooLargeError{Limit: "batch_operations_max", Value: 3, Max: 2}, limits.CheckBatch(3))
	require.NoError(t, limits.CheckNamespaces(1, 2))
	require.Equal(t, &tenancy.QuotaError{Limit: "namespaces_max", Value: 3}, limits.CheckNamespaces(2, 2))
}
