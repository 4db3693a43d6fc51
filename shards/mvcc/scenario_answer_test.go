package mvcc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

func showKeyValue(kv *flotillav1.KeyValue) string {
	s := fmt.Sprintf("%s=%q create=%d mod=%d version=%d", quoteless(kv.GetKey()), kv.GetValue(), kv.GetCreateRevision(), kv.GetModRevision(), kv.GetVersion())
	if kv.GetLease() != 0 {
		s += fmt.Sprintf(" lease=%d", kv.GetLease())
	}
	return s
}

func quoteless(b []byte) string {
	quoted := fmt.Sprintf("%q", b)
	return quoted[1 : len(quoted)-1]
}

func showGet(res *flotillav1.GetResponse) string {
	if res.GetKv() == nil {
		return "no such key\n"
	}
	return showKeyValue(res.GetKv()) + "\n"
}

func showRange(res *flotillav1.RangeResponse) string {
	var s strings.Builder
	for _, kv := range res.GetKvs() {
		fmt.Fprintln(&s, showKeyValue(kv))
	}
	fmt.Fprintf(&s, "read at %d of %d", res.GetReadRevision(), res.GetRevision())
	if res.GetCount() > 0 {
		fmt.Fprintf(&s, ", count %d", res.GetCount())
	}
	if res.GetMore() {
		s.WriteString(", more")
	}
	if len(res.GetNextKey()) > 0 {
		fmt.Fprintf(&s, " from %s", quoteless(res.GetNextKey()))
	}
	return s.String() + "\n"
}

func showPut(res *flotillav1.PutResponse) string {
	s := fmt.Sprintf("revision %d\n", res.GetRevision())
	if res.GetPrevKv() != nil {
		s += "was " + showKeyValue(res.GetPrevKv()) + "\n"
	}
	return s
}

func showDelete(res *flotillav1.DeleteResponse) string {
	s := fmt.Sprintf("revision %d, deleted %d\n", res.GetRevision(), res.GetDeleted())
	for _, kv := range res.GetPrevKvs() {
		s += "was " + showKeyValue(kv) + "\n"
	}
	return s
}

func showTxn(res *flotillav1.TxnResponse) string {
	var s strings.Builder
	branch := "else"
	if res.GetSucceeded() {
		branch = "then"
	}
	fmt.Fprintf(&s, "%s, revision %d\n", branch, res.GetRevision())
	for _, op := range res.GetResponses() {
		var answer string
		switch r := op.GetResponse().(type) {
		case *flotillav1.TxnOperationResponse_Get:
			answer = "get: " + showGet(r.Get)
		case *flotillav1.TxnOperationResponse_Range:
			answer = "range: " + showRange(r.Range)
		case *flotillav1.TxnOperationResponse_Put:
			answer = "put: " + showPut(r.Put)
		case *flotillav1.TxnOperationResponse_Delete:
			answer = "delete: " + showDelete(r.Delete)
		case *flotillav1.TxnOperationResponse_Txn:
			answer = "txn: " + showTxn(r.Txn)
		}
		s.WriteString("  " + strings.ReplaceAll(strings.TrimSuffix(answer, "\n"), "\n", "\n    ") + "\n")
	}
	return s.String()
}

// showStored shows the versions by key, and the history by revision.
func (s *scenario) showStored(t *testing.T) string {
	t.Helper()
	versions, events := s.store.Contents()
	var out strings.Builder
	last := ""
	for _, v := range versions {
		if v.Key != last {
			fmt.Fprintf(&out, "%s:\n", quoteless([]byte(v.Key)))
			last = v.Key
		}
		decoded, err := mvcc.DecodeVersion([]byte(v.Value))
		require.NoError(t, err)
		if decoded.Tombstone {
			fmt.Fprintf(&out, "  @%d deleted\n", v.Revision)
		} else {
			fmt.Fprintf(&out, "  @%d %q\n", v.Revision, decoded.Value)
		}
	}
	out.WriteString("history:")
	for _, e := range events {
		fmt.Fprintf(&out, " %d.%d %s", e.Revision, e.Sub, quoteless([]byte(e.Key)))
	}
	return out.String() + "\n"
}
