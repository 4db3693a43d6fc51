package mvcc_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/mvcc/mvcctest"
)

// TestScenarios runs testdata: stories of one namespace, in which a line is a
// request and what follows "----" is its answer. Lease 7 exists, and the lock
// "deploy" is held under the token 3.
//
//	put      key=K [value=V] [lease=N] [prev] [ignore-value] [ignore-lease] [PRECONDITION] [fence=(LOCK,TOKEN)]
//	get      key=K [at=R]
//	delete   key=K | RANGE  [prev] [PRECONDITION] [fence=(LOCK,TOKEN)]
//	range    RANGE [at=R] [limit=N] [sort=FIELD] [descending] [keys-only] [count-only] [count]
//	         [min-mod=R] [max-mod=R] [min-create=R] [max-create=R] [keys-max=N] [bytes-max=N]
//	txn      with lines: if key=K | RANGE  [not|less|greater] value=V | version=N | create=R | mod=R | lease=N
//	                     then, else, and below them operations; those of a txn inside are indented
//	quota    [keys=N] [bytes=N]
//	compact  at=R
//	purge    [events=N]
//	state    the counters
//	stored   what storage holds
//
// RANGE is any of prefix=K, start=K, end=K, or all. PRECONDITION is any of
// mod=R, exists, absent.
func TestScenarios(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		t.Helper()
		t.Parallel()
		s := &scenario{store: mvcctest.NewStore(), hooks: mvcctest.NewHooks(7), state: mvcc.NewState()}
		s.hooks.Tokens["deploy"] = 3
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			answer, err := s.run(t, d)
			if mvcc.IsRefusal(err) {
				return fmt.Sprintf("refused: %v\n", err)
			}
			require.NoError(t, err)
			return answer
		})
	})
}

type scenario struct {
	store *mvcctest.Store
	hooks *mvcctest.Hooks
	state mvcc.State
}

func (s *scenario) run(t *testing.T, d *datadriven.TestData) (string, error) {
	t.Helper()
	args := arguments(d.CmdArgs)
	switch d.Cmd {
	case "get":
		res, err := mvcc.Get(s.store, &s.state, args.get(t))
		return showGet(res), err
	case "range":
		limits := mvcc.ReadLimits{KeysMax: int(args.number(t, "keys-max")), BytesMax: int(args.number(t, "bytes-max"))}
		res, err := mvcc.Range(s.store, &s.state, args.rangeKeys(t), limits)
		return showRange(res), err
	case "put":
		res, err := mvcc.Put(s.store, &s.state, s.hooks, args.put(t))
		return showPut(res), err
	case "delete":
		res, err := mvcc.Delete(s.store, &s.state, s.hooks, args.delete(t))
		return showDelete(res), err
	case "txn":
		req, rest := parseTxn(t, strings.Split(d.Input, "\n"), "")
		require.Empty(t, rest, "lines after the transaction")
		res, err := mvcc.Txn(s.store, &s.state, s.hooks, req)
		return showTxn(res), err
	case "quota":
		s.hooks.Bounds = mvcc.Quota{KeysMax: args.number(t, "keys"), StoredBytesMax: args.number(t, "bytes")}
		return "", nil
	case "compact":
		res, err := mvcc.Compact(&s.state, &flotillav1.CompactRequest{Revision: args.number(t, "at")})
		return fmt.Sprintf("compacted at %d of %d\n", res.GetCompactRevision(), res.GetRevision()), err
	case "purge":
		events := 1000
		if args.has("events") {
			events = int(args.number(t, "events"))
		}
		res, err := mvcc.Purge(s.store, &s.state, events)
		answer := fmt.Sprintf("visited %d events, removed %d versions, purged up to %d", res.Events, res.Versions, s.state.PurgedRevision)
		if res.Done {
			answer += ", done"
		}
		return answer + "\n", err
	case "state":
		return fmt.Sprintf("revision %d, %d keys, %d live bytes\n", s.state.Revision, s.state.Keys, s.state.LiveBytes), nil
	case "stored":
		return s.showStored(t), nil
	}
	return "", errors.New("unknown command " + d.Cmd)
}

// parseTxn reads the lines of a transaction that are indented by indent, and
// returns those after it.
func parseTxn(t *testing.T, lines []string, indent string) (req *flotillav1.TxnRequest, rest []string) {
	t.Helper()
	req = &flotillav1.TxnRequest{}
	list := &req.Success
	for len(lines) > 0 {
		line, ok := strings.CutPrefix(lines[0], indent)
		if !ok {
			break
		}
		lines = lines[1:]
		command, cmdArgs, err := datadriven.ParseLine(line)
		require.NoError(t, err)
		args, op := arguments(cmdArgs), &flotillav1.TxnOperation{}
		switch command {
		case "if":
			req.Compare = append(req.Compare, args.compare(t))
			continue
		case "then":
			list = &req.Success
			continue
		case "else":
			list = &req.Failure
			continue
		case "get":
			op.Operation = &flotillav1.TxnOperation_Get{Get: args.get(t)}
		case "range":
			op.Operation = &flotillav1.TxnOperation_Range{Range: args.rangeKeys(t)}
		case "put":
			op.Operation = &flotillav1.TxnOperation_Put{Put: args.put(t)}
		case "delete":
			op.Operation = &flotillav1.TxnOperation_Delete{Delete: args.delete(t)}
		case "txn":
			var inner *flotillav1.TxnRequest
			inner, lines = parseTxn(t, lines, indent+"  ")
			op.Operation = &flotillav1.TxnOperation_Txn{Txn: inner}
		default:
			require.Fail(t, "unknown line of a transaction", "%q", line)
		}
		*list = append(*list, op)
	}
	return req, lines
}
