package cli

import (
	"strconv"
	"unicode/utf8"

	"github.com/spf13/cobra"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

func newKVCommand(env *Env) *cobra.Command {
	return group("kv", "Read and write keys",
		newKVGetCommand(env), newKVPutCommand(env), newKVDeleteCommand(env),
		newKVRangeCommand(env), newKVTxnCommand(env), newKVWatchCommand(env), newKVCompactCommand(env))
}

// keyJSON is a key as commands print it in JSON. Numbers are strings, as in the
// API; what is not valid UTF-8 is in base64.
type keyJSON struct {
	Key            string `json:"key,omitempty"`
	KeyBase64      []byte `json:"key_base64,omitempty"`
	Value          string `json:"value,omitempty"`
	ValueBase64    []byte `json:"value_base64,omitempty"`
	CreateRevision string `json:"create_revision"`
	ModRevision    string `json:"mod_revision"`
	Version        string `json:"version"`
	Lease          string `json:"lease,omitempty"`
}

func keyToJSON(kv *flotilla.KeyValue) *keyJSON {
	if kv == nil {
		return nil
	}
	j := &keyJSON{
		CreateRevision: formatUint(kv.CreateRevision), ModRevision: formatUint(kv.ModRevision), Version: formatUint(kv.Version),
	}
	if kv.Lease != 0 {
		j.Lease = formatInt(kv.Lease)
	}
	if utf8.ValidString(kv.Key) {
		j.Key = kv.Key
	} else {
		j.KeyBase64 = []byte(kv.Key)
	}
	if utf8.Valid(kv.Value) {
		j.Value = string(kv.Value)
	} else {
		j.ValueBase64 = kv.Value
	}
	return j
}

func formatUint(n uint64) string { return strconv.FormatUint(n, 10) }

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
