package main

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseStatSurvivesTheProgramsName(t *testing.T) {
	t.Parallel()
	stat := []byte("42 (a) b (c)) S 1 42 42 0 -1 4194560 9 8 7 6 150 25 3 4 20 0 11 0 100 200 300\n")
	cpu, err := parseStat(stat)
	require.NoError(t, err)
	require.Equal(t, 1750*time.Millisecond, cpu)

	for _, malformed := range []string{"", "42 (a", "42 (a) S 1 2", "42 (a) S 1 42 42 0 -1 4194560 9 8 7 6 x 25 3"} {
		_, err := parseStat([]byte(malformed))
		require.Error(t, err, malformed)
	}
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	m, err := parseStatus([]byte("Name:\tVmRSS: x\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\nRssAnon:\t 100 kB\nThreads:\t4\n"))
	require.NoError(t, err)
	require.Equal(t, memory{RSS: 200 << 10, Anon: 100 << 10, Peak: 300 << 10}, m)

	_, err = parseStatus([]byte("VmHWM:\t300 kB\nVmRSS:\t200 kB\n"))
	require.ErrorContains(t, err, "lacks 1")
	_, err = parseStatus([]byte("VmHWM:\t300 MB\n"))
	require.ErrorContains(t, err, "malformed")
}

func TestProcOfThisProcessIsUnderstood(t *testing.T) {
	t.Parallel()
	stat, err := os.ReadFile("/proc/self/stat")
	require.NoError(t, err)
	_, err = parseStat(stat)
	require.NoError(t, err)
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	m, err := parseStatus(status)
	require.NoError(t, err)
	require.Positive(t, m.Anon)
	require.GreaterOrEqual(t, m.Peak, m.RSS)
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, tc := range []struct {
		name   string
		sorted []time.Duration
		p      int
		want   time.Duration
	}{
		{"of none", nil, 50, 0},
		{"of one", []time.Duration{7}, 99, 7},
		{"lower middle of two", []time.Duration{1, 2}, 50, 1},
		{"middle of three", []time.Duration{1, 2, 3}, 50, 2},
		{"p99 of a hundred", hundred, 99, 99},
		{"the largest", hundred, 100, 100},
	} {
		require.Equal(t, tc.want, percentile(tc.sorted, tc.p), tc.name)
	}
}

func TestSummarizeWeighsSlicesByTheirLength(t *testing.T) {
	t.Parallel()
	r := summarize([]sliceResult{
		{
			latencies: []time.Duration{3, 1, 2}, elapsed: time.Second,
			serverCPU: time.Second, clientCPU: 500 * time.Millisecond, memory: memory{RSS: 1},
		},
		{
			latencies: []time.Duration{9}, elapsed: 3 * time.Second,
			serverCPU: time.Second, clientCPU: 500 * time.Millisecond, memory: memory{RSS: 2},
		},
	})
	require.Equal(t, result{
		OpsPerSecond: 1, P50: 2, P99: 9, Max: 9, ServerCPU: 0.5, ClientCPU: 0.25,
		Memory: memory{RSS: 2}, Rounds: []float64{3, 1.0 / 3},
	}, r)
}
