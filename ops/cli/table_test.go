package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// TestLinesOfTablesEndWithWhatTheySay, with no spaces behind it.
func TestLinesOfTablesEndWithWhatTheySay(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, printTable(&out, []string{"NAME", "WHAT"}, [][]string{{"a", "long"}, {"bcdefg", ""}, {"", ""}}))
	require.Equal(t, "NAME    WHAT\na       long\nbcdefg\n\n", out.String())
}

// TestUsageTable: every column has a heading, also that of the bars, and little is not
// told as nothing.
func TestUsageTable(t *testing.T) {
	t.Parallel()
	used := &flotillav1.Usage{Requests: 3, ReadUnits: 2, WriteUnits: 1, BytesIn: 10, BytesOut: 2048, WatchSeconds: 1800, StoredByteSeconds: 19}
	start := timestamppb.New(time.Unix(1_800_000_000, 0))
	var out bytes.Buffer
	require.NoError(t, printUsage(&Env{Out: &out}, &flotillav1.GetUsageResponse{
		Hours: []*flotillav1.UsageHour{{StartTime: start, Usage: used}, {StartTime: start, Usage: &flotillav1.Usage{}}},
		Total: used,
	}))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Len(t, lines, 4)
	require.Regexp(t, `WATCH HOURS +STORED +UNITS$`, lines[0])
	require.Regexp(t, `^2027-01-15T08:00:00Z +3 +2 +1 +10 B +2.0 KiB +0.50 +<1 Bh +█{24}$`, lines[1])
	require.Regexp(t, `^2027-01-15T08:00:00Z +0 +0 +0 +0 B +0 B +0.00 +0 Bh$`, lines[2])
	require.Regexp(t, `^total .* <1 Bh$`, lines[3])
}

func TestByteHours(t *testing.T) {
	t.Parallel()
	for byteSeconds, want := range map[uint64]string{
		0: "0 Bh", 1: "<1 Bh", 3599: "<1 Bh", 3600: "1 Bh", 3600 * 1023: "1023 Bh", 3600 * 1024: "1.0 KiBh",
	} {
		require.Equal(t, want, byteHoursText(byteSeconds))
	}
}

// TestTenantTable has every limit but that of queues, which do not exist yet; JSON has
// all.
func TestTenantTable(t *testing.T) {
	t.Parallel()
	tenant := &adminv1.Tenant{Name: "acme", Limits: &flotillav1.Limits{KeysMax: 7, MessagesMax: 9}, OwnLimits: &flotillav1.Limits{KeysMax: 7}}
	var table, all bytes.Buffer
	require.NoError(t, printTenant(&Env{Out: &table}, &adminOptions{operatorOptions: operatorOptions{output: "table"}}, tenant))
	require.Contains(t, table.String(), "keys_max              7 *\n")
	require.NotContains(t, table.String(), "messages_max")
	require.NoError(t, printTenant(&Env{Out: &all}, &adminOptions{operatorOptions: operatorOptions{output: "json"}}, tenant))
	require.Contains(t, all.String(), `"messages_max":"9"`)
}
