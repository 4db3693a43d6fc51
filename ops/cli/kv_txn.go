package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

type kvTxnOptions struct {
	client           clientOptions
	output           outputFlag
	ifs, then, other []string
}

func newKVTxnCommand(env *Env) *cobra.Command {
	opts := &kvTxnOptions{}
	cmd := &cobra.Command{
		Use:   "txn",
		Short: "Run a transaction",
		Long: `Runs --then if every --if holds, and --else otherwise, in one commit. The
flags may be given more than once.

A condition is FIELD(KEY) RELATION VALUE. The field is value, version, create,
mod or lease, the relation =, !=, < or >; a key that does not exist has version
0. Or it is exists(KEY) or absent(KEY).

An operation is get KEY, put KEY VALUE, delete KEY or range PREFIX.`,
		Example: `  $ flotilla kv txn --if 'absent(leader)' --then 'put leader me' --else 'get leader'
  $ flotilla kv txn --if 'value(a) = 1' --if 'mod(b) < 20' --then 'put a 2' --then 'delete b'`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runKVTxn(cmd.Context(), env, opts) },
	}
	f := cmd.Flags()
	opts.client.bind(f)
	opts.output.bind(f)
	f.StringArrayVar(&opts.ifs, "if", nil, "a condition")
	f.StringArrayVar(&opts.then, "then", nil, "an operation if all conditions hold")
	f.StringArrayVar(&opts.other, "else", nil, "an operation otherwise")
	return cmd
}

func runKVTxn(ctx context.Context, env *Env, opts *kvTxnOptions) error {
	txn, err := parseTxn(opts.ifs, opts.then, opts.other)
	if err == nil && len(txn.Then)+len(txn.Else) == 0 {
		err = errors.New("there is nothing to run: give at least one --then or --else")
	}
	if err != nil {
		return usageError{err}
	}
	client, err := opts.client.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	result, err := client.Namespace(opts.client.namespace).KV.Txn(ctx, txn)
	if err != nil {
		return err
	}
	if opts.output.json() {
		return printJSON(env.Out, txnToJSON(result))
	}
	return printTxn(env.Out, result)
}

func parseTxn(ifs, then, other []string) (flotilla.Txn, error) {
	var txn flotilla.Txn
	var errs []error
	for _, text := range ifs {
		c, err := parseCondition(text)
		txn.If, errs = append(txn.If, c), append(errs, err)
	}
	for _, text := range then {
		op, err := parseOp(text)
		txn.Then, errs = append(txn.Then, op), append(errs, err)
	}
	for _, text := range other {
		op, err := parseOp(text)
		txn.Else, errs = append(txn.Else, op), append(errs, err)
	}
	return txn, errors.Join(errs...)
}

// parseCondition reads FIELD(KEY) RELATION VALUE, exists(KEY) or absent(KEY).
func parseCondition(text string) (flotilla.Condition, error) {
	bad := func(why string) (flotilla.Condition, error) {
		return flotilla.Condition{}, fmt.Errorf("--if %q: %s", text, why)
	}
	field, rest, ok := strings.Cut(text, "(")
	closing := strings.Index(rest, ")")
	if !ok || closing < 0 {
		return bad("is not of the form field(key) relation value")
	}
	key, rest := rest[:closing], strings.TrimSpace(rest[closing+1:])
	switch {
	case field == "exists" && rest == "":
		return flotilla.IfExists(key), nil
	case field == "absent" && rest == "":
		return flotilla.IfAbsent(key), nil
	}
	relation, value, ok := cutRelation(rest)
	if !ok {
		return bad("has no relation: use =, !=, < or >")
	}
	if field == "value" {
		return flotilla.IfValue(key, relation, []byte(value)), nil
	}
	number, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		return bad(fmt.Sprintf("%q is not a number", value))
	}
	switch field {
	case "version":
		return flotilla.IfVersion(key, relation, number), nil
	case "create":
		return flotilla.IfCreateRevision(key, relation, number), nil
	case "mod":
		return flotilla.IfModRevision(key, relation, number), nil
	case "lease":
		return flotilla.IfLease(key, relation, int64(number)), nil
	default:
		return bad(fmt.Sprintf("%q is not a field: use value, version, create, mod, lease, exists or absent", field))
	}
}

func cutRelation(text string) (flotilla.Relation, string, bool) {
	for _, r := range []struct {
		sign     string
		relation flotilla.Relation
	}{{"!=", flotilla.NotEqual}, {"=", flotilla.Equal}, {"<", flotilla.Less}, {">", flotilla.Greater}} {
		if value, ok := strings.CutPrefix(text, r.sign); ok {
			return r.relation, strings.TrimSpace(value), true
		}
	}
	return 0, "", false
}

// parseOp reads get KEY, put KEY VALUE, delete KEY or range PREFIX.
func parseOp(text string) (flotilla.Op, error) {
	verb, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	rest = strings.TrimSpace(rest)
	key, value, hasValue := strings.Cut(rest, " ")
	switch {
	case verb == "get" && key != "" && !hasValue:
		return flotilla.OpGet(key), nil
	case verb == "put" && key != "" && hasValue:
		return flotilla.OpPut(key, []byte(value), nil), nil
	case verb == "delete" && key != "" && !hasValue:
		return flotilla.OpDelete(key, nil), nil
	case verb == "range" && !hasValue:
		return flotilla.OpRange(flotilla.Prefix(key), nil), nil
	default:
		return flotilla.Op{}, fmt.Errorf("operation %q is not get KEY, put KEY VALUE, delete KEY or range PREFIX", text)
	}
}

func printTxn(w io.Writer, result *flotilla.TxnResult) error {
	branch := "else"
	if result.Succeeded {
		branch = "then"
	}
	fmt.Fprintf(w, "ran %s, revision %d\n", branch, result.Revision)
	var rows [][]string
	for _, r := range result.Results {
		switch {
		case r.Put != nil:
			rows = append(rows, []string{"put", "", formatUint(r.Put.Revision), ""})
		case r.Delete != nil:
			rows = append(rows, []string{"delete", "", formatUint(r.Delete.Revision), fmt.Sprint(r.Delete.Deleted, " removed")})
		case r.KV != nil:
			rows = append(rows, keyRow("get", r.KV))
		default:
			for _, kv := range r.KVs {
				rows = append(rows, keyRow("range", kv))
			}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return printTable(w, []string{"OPERATION", "KEY", "REVISION", "VALUE"}, rows)
}

func keyRow(operation string, kv *flotilla.KeyValue) []string {
	return []string{operation, printable([]byte(kv.Key)), formatUint(kv.ModRevision), printable(kv.Value)}
}

type txnJSON struct {
	Revision  string         `json:"revision"`
	Succeeded bool           `json:"succeeded"`
	Results   []opResultJSON `json:"results"`
}

type opResultJSON struct {
	KV       *keyJSON   `json:"kv,omitempty"`
	KVs      []*keyJSON `json:"kvs,omitempty"`
	Revision string     `json:"revision,omitempty"`
	Deleted  string     `json:"deleted,omitempty"`
}

func txnToJSON(result *flotilla.TxnResult) txnJSON {
	out := txnJSON{Revision: formatUint(result.Revision), Succeeded: result.Succeeded, Results: []opResultJSON{}}
	for _, r := range result.Results {
		one := opResultJSON{KV: keyToJSON(r.KV)}
		for _, kv := range r.KVs {
			one.KVs = append(one.KVs, keyToJSON(kv))
		}
		switch {
		case r.Put != nil:
			one.Revision = formatUint(r.Put.Revision)
		case r.Delete != nil:
			one.Revision, one.Deleted = formatUint(r.Delete.Revision), formatUint(r.Delete.Deleted)
		}
		out.Results = append(out.Results, one)
	}
	return out
}
