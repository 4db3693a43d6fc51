package main

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	o, err := parseOptions([]string{"-workloads", "put, txn", "-callers", "1,8", "-memory-limit", "1.8GB"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, o.workloads, 2)
	require.Equal(t, "txn", o.workloads[1].name)
	require.Equal(t, []int{1, 8}, o.callers)
	require.Equal(t, byteSize(1_800_000_000), o.memoryLimit)

	o, err = parseOptions([]string{"-workloads", "none"}, io.Discard)
	require.NoError(t, err)
	require.Empty(t, o.workloads)
}

func TestWrongOptionsAreNamed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"-workloads", "putt"}, `no "putt"`},
		{[]string{"-callers", "1,x"}, `"x" is not a positive number`},
		{[]string{"-callers", "0"}, `"0" is not a positive number`},
		{[]string{"-keys", "99", "-callers", "1"}, "-keys must be at least 100"},
		{[]string{"-keys", "500", "-callers", "501"}, "a key per caller"},
		{[]string{"-rounds", "0", "-slice", "-1s"}, "-slice must be positive"},
		{[]string{"-value-bytes", "2000000"}, "-value-bytes must be at most"},
		{[]string{"-namespaces", "-1"}, "cannot be negative"},
		{[]string{"-cgroup", "/x"}, "-cgroup needs -memory-limit"},
		{[]string{"-memory-limit", "much"}, "not a size"},
		{[]string{"extra"}, `unexpected argument "extra"`},
	} {
		_, err := parseOptions(tc.args, io.Discard)
		require.ErrorContains(t, err, tc.want, "%v", tc.args)
	}
}

func TestByteSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]byteSize{
		"0": 0, "12": 12, "12B": 12, "1KB": 1000, "1.5 MB": 1_500_000, "2GB": 2_000_000_000,
		"1KiB": 1 << 10, "3MiB": 3 << 20, "8GiB": 8 << 30,
	} {
		var size byteSize
		require.NoError(t, size.Set(text), text)
		require.Equal(t, want, size, text)
	}
	var size byteSize
	for _, text := range []string{"", "GB", "-1", "1TBx", "9999999999GB"} {
		require.Error(t, size.Set(text), text)
	}
}
