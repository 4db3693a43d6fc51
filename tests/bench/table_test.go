package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTableIsAligned(t *testing.T) {
	t.Parallel()
	var tab table
	tab.row("name", "n", "latency")
	tab.row("a long name", "1,000", "1 us")
	tab.row("b", "2")
	var out strings.Builder
	tab.print(&out)
	require.Equal(t, strings.TrimPrefix(`
name             n  latency
a long name  1,000     1 us
b                2
`, "\n"), out.String())
}

func TestCells(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0":         thousands(0.4),
		"999":       thousands(999),
		"1,000":     thousands(999.6),
		"1,234,567": thousands(1234567),
		"250 us":    latency(250 * time.Microsecond),
		"1.5 ms":    latency(1500 * time.Microsecond),
		"1500 ms":   latency(1500 * time.Millisecond),
		"1801 MB":   megabytes(1_800_600_000),
		"2.50":      ratio(5, 2),
		"-":         ratio(1, 0),
	} {
		require.Equal(t, want, got)
	}
}

func testReport() report {
	fast := result{OpsPerSecond: 40_000, P50: time.Millisecond, P99: 2 * time.Millisecond, ServerCPU: 1.25, ClientCPU: 0.5, Memory: memory{RSS: 100e6}}
	slow := result{OpsPerSecond: 10_000, P50: 4 * time.Millisecond, P99: 8 * time.Millisecond, ServerCPU: 1, ClientCPU: 0.75, Memory: memory{RSS: 200e6}}
	return report{
		Command: "go run .", CPUs: 2, GoVersion: "go1",
		Comparison: []comparison{{Workload: "put", Callers: 64, both: both[result]{fast, slow}}},
		Memory: []memoryRow{{Moment: "empty", both: both[footprint]{
			footprint{memory: memory{RSS: 50e6, Anon: 10e6, Peak: 60e6}, Disk: 1e6},
			footprint{memory: memory{RSS: 100e6, Anon: 40e6, Peak: 120e6}, Disk: 2e6},
		}}},
		Restart:    &both[restarted]{restarted{Seconds: 1.5}, restarted{Seconds: 2}},
		Namespaces: &namespacesResult{Namespaces: 1000, KeysEach: 10, RestartSeconds: 0.5, Filled: nodeState{Goroutines: 77}},
	}
}

func TestReportIsPrinted(t *testing.T) {
	t.Parallel()
	r := testReport()
	var out strings.Builder
	r.printComparison(&out, options{keys: 1000, valueBytes: 256, rounds: 3, slice: time.Second})
	r.printNamespaces(&out)
	require.Equal(t, `
go run .
2 CPUs, go1; 1,000 keys of 256 B; 3 slices of 1s each, alternating
CPU is in % of one core: the server's + its client's in this process.

workload  callers  flotilla op/s     p50     p99     CPU     RSS  etcd op/s     p50     p99     CPU     RSS  flotilla/etcd   p50   p99
put            64         40,000  1.0 ms  2.0 ms  125+50  100 MB     10,000  4.0 ms  8.0 ms  100+75  200 MB           4.00  0.25  0.25

memory  flotilla RSS   anon   peak  disk  etcd RSS   anon    peak  disk  flotilla/etcd RSS  anon
empty          50 MB  10 MB  60 MB  1 MB    100 MB  40 MB  120 MB  2 MB               0.50  0.25

after kill -9  serves after   RSS  anon  peak
flotilla             1.50 s  0 MB  0 MB  0 MB
etcd                 2.00 s  0 MB  0 MB  0 MB

namespaces                           RSS  anon  peak  goroutines
none                                0 MB  0 MB  0 MB           0
1,000 of 10 keys                    0 MB  0 MB  0 MB          77
after kill -9, serves after 0.50 s  0 MB  0 MB  0 MB           0
`, out.String())
}

func TestReportAsJSONNamesBothSides(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(testReport())
	require.NoError(t, err)
	var decoded struct {
		Comparison []struct {
			Workload string                     `json:"workload"`
			Flotilla map[string]json.RawMessage `json:"flotilla"`
			Etcd     map[string]json.RawMessage `json:"etcd"`
		} `json:"comparison"`
		Memory []struct {
			Etcd map[string]json.RawMessage `json:"etcd"`
		} `json:"memory"`
	}
	require.NoError(t, json.Unmarshal(text, &decoded))
	require.Equal(t, "put", decoded.Comparison[0].Workload)
	require.JSONEq(t, "40000", string(decoded.Comparison[0].Flotilla["ops_per_second"]))
	require.JSONEq(t, "4000000", string(decoded.Comparison[0].Etcd["p50_ns"]))
	require.JSONEq(t, "100000000", string(decoded.Memory[0].Etcd["rss_bytes"]))
	require.JSONEq(t, "2000000", string(decoded.Memory[0].Etcd["disk_bytes"]))
}

func TestProgressOutsideATerminalIsALineForEveryTenth(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(&out)
	p.begin("load", 40, "keys")
	for range 40 {
		p.add(1)
	}
	p.end()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 10)
	require.Contains(t, lines[0], "load  10 %")
	require.Contains(t, lines[9], "load 100 %")
}
