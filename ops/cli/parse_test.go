package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// run runs a command line without a node, and returns its exit code.
func run(t *testing.T, line ...string) (code int, out, errOut string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := &Env{In: strings.NewReader(""), Out: &stdout, Err: &stderr, LookupEnv: func(string) (string, bool) { return "", false }}
	code = Main(context.Background(), env, line)
	return code, stdout.String(), stderr.String()
}

// TestTimesOfTables: a time in a table says its zone, and the same everywhere.
func TestTimesOfTables(t *testing.T) {
	t.Parallel()
	require.Equal(t, "-", timeText(nil))
	require.Equal(t, "2027-01-15T08:00:00Z", timeText(timestamppb.New(time.Unix(1_800_000_000, 5).Local())))
}

func TestWrongUsageIsToldApart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		line []string
		says string
	}{
		"no key":             {[]string{"kv", "get"}, "accepts 1 arg"},
		"unknown flag":       {[]string{"kv", "get", "a", "--revisio", "1"}, "unknown flag"},
		"unknown command":    {[]string{"kvs"}, "unknown command"},
		"wrong format":       {[]string{"kv", "get", "a", "-o", "xml"}, "table or json"},
		"two conditions":     {[]string{"kv", "put", "a", "b", "--if-absent", "--if-exists"}, "none of the others can be"},
		"a bad condition":    {[]string{"kv", "txn", "--if", "size(a) = 1"}, "not a field"},
		"no relation":        {[]string{"kv", "txn", "--if", "value(a) 1"}, "no relation"},
		"not a number":       {[]string{"kv", "txn", "--if", "mod(a) = x"}, "not a number"},
		"nothing to run":     {[]string{"kv", "txn", "--if", "exists(a)"}, "--then or --else"},
		"a bad operation":    {[]string{"kv", "txn", "--then", "put a"}, "put KEY VALUE"},
		"not a revision":     {[]string{"kv", "compact", "x"}, "not a revision"},
		"key and prefix":     {[]string{"kv", "delete", "a", "--prefix", "b"}, "either a key or --prefix"},
		"not loopback":       {[]string{"dev", "--data-dir", t.TempDir(), "--listen-api", "0.0.0.0:0"}, "not encrypted"},
		"not an address":     {[]string{"dev", "--data-dir", t.TempDir(), "--listen-ops", "7703"}, "host:port"},
		"too many shards":    {[]string{"dev", "--data-dir", t.TempDir(), "--data-shards", "1000"}, "1 to 64"},
		"a setting unknown":  {[]string{"dev", "--config", "no/such.yaml"}, "no such file"},
		"a node but no key":  {[]string{"kv", "get", "a", "--api-url", "http://127.0.0.1:1"}, "no"},
		"a key that ended":   {[]string{"key", "create", "--expires", "-3h"}, "--expires is -3h0m0s, and takes"},
		"a rotated one":      {[]string{"key", "rotate", "kvu2hbl4ykk5xtsq", "--expires", "-1s"}, "--expires is -1s"},
		"a URL of no scheme": {[]string{"kv", "get", "a", "--api-url", "127.0.0.1:1", "--api-key", "k"}, "http://"},
	} {
		code, _, stderr := run(t, c.line...)
		require.NotZero(t, code, name)
		require.Contains(t, stderr, c.says, name)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for code, want := range map[connect.Code]int{
		connect.CodeNotFound: exitNotFound, connect.CodeUnauthenticated: exitNotAllowed,
		connect.CodePermissionDenied: exitNotAllowed, connect.CodeUnavailable: exitTryAgain,
		connect.CodeResourceExhausted: exitTryAgain, connect.CodeAborted: exitFailed,
		connect.CodeInvalidArgument: exitUsage,
	} {
		require.Equal(t, want, exitCode(&flotilla.Error{Code: code}), code)
	}
	require.Equal(t, exitDone, exitCode(nil))
	require.Equal(t, exitFailed, exitCode(context.Canceled))
}

func TestKeysThatATerminalCannotShowAreQuoted(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a/b", printable([]byte("a/b")))
	require.Equal(t, `"a\tb"`, printable([]byte("a\tb")))
	require.Equal(t, `"\xff"`, printable([]byte{0xff}))
}
