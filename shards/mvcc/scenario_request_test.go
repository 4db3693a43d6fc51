package mvcc_test

import (
	"strconv"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// arguments are those of one line of a scenario.
type arguments []datadriven.CmdArg

func (a arguments) has(name string) bool {
	for _, arg := range a {
		if arg.Key == name {
			return true
		}
	}
	return false
}

// text is an argument's value, with Go's escapes: \x00, \xff.
func (a arguments) text(t *testing.T, name string) []byte {
	t.Helper()
	for _, arg := range a {
		if arg.Key == name && len(arg.Vals) > 0 {
			s, err := strconv.Unquote(`"` + arg.Vals[0] + `"`)
			require.NoError(t, err)
			return []byte(s)
		}
	}
	return nil
}

func (a arguments) number(t *testing.T, name string) uint64 {
	t.Helper()
	if !a.has(name) {
		return 0
	}
	n, err := strconv.ParseUint(string(a.text(t, name)), 10, 64)
	require.NoError(t, err)
	return n
}

func (a arguments) get(t *testing.T) *flotillav1.GetRequest {
	t.Helper()
	return &flotillav1.GetRequest{Key: a.text(t, "key"), Revision: a.number(t, "at")}
}

func (a arguments) keyRange(t *testing.T) *flotillav1.KeyRange {
	t.Helper()
	return &flotillav1.KeyRange{Prefix: a.text(t, "prefix"), Start: a.text(t, "start"), End: a.text(t, "end")}
}

func (a arguments) rangeKeys(t *testing.T) *flotillav1.RangeRequest {
	t.Helper()
	targets := map[string]flotillav1.SortTarget{
		"":        flotillav1.SortTarget_SORT_TARGET_UNSPECIFIED,
		"key":     flotillav1.SortTarget_SORT_TARGET_KEY,
		"version": flotillav1.SortTarget_SORT_TARGET_VERSION,
		"create":  flotillav1.SortTarget_SORT_TARGET_CREATE_REVISION,
		"mod":     flotillav1.SortTarget_SORT_TARGET_MOD_REVISION,
		"value":   flotillav1.SortTarget_SORT_TARGET_VALUE,
	}
	target, known := targets[string(a.text(t, "sort"))]
	require.True(t, known, "sort")
	return &flotillav1.RangeRequest{
		Keys:              a.keyRange(t),
		Revision:          a.number(t, "at"),
		Limit:             a.number(t, "limit"),
		SortTarget:        target,
		Descending:        a.has("descending"),
		KeysOnly:          a.has("keys-only"),
		CountOnly:         a.has("count-only"),
		CountTotal:        a.has("count"),
		MinModRevision:    a.number(t, "min-mod"),
		MaxModRevision:    a.number(t, "max-mod"),
		MinCreateRevision: a.number(t, "min-create"),
		MaxCreateRevision: a.number(t, "max-create"),
	}
}

func (a arguments) put(t *testing.T) *flotillav1.PutRequest {
	t.Helper()
	return &flotillav1.PutRequest{
		Key:          a.text(t, "key"),
		Value:        a.text(t, "value"),
		Lease:        int64(a.number(t, "lease")),
		PrevKv:       a.has("prev"),
		IgnoreValue:  a.has("ignore-value"),
		IgnoreLease:  a.has("ignore-lease"),
		Precondition: a.precondition(t),
		Fence:        a.fence(t),
	}
}

func (a arguments) delete(t *testing.T) *flotillav1.DeleteRequest {
	t.Helper()
	req := &flotillav1.DeleteRequest{PrevKv: a.has("prev"), Precondition: a.precondition(t), Fence: a.fence(t)}
	if a.has("key") {
		req.Target = &flotillav1.DeleteRequest_Key{Key: a.text(t, "key")}
	} else {
		req.Target = &flotillav1.DeleteRequest_Range{Range: a.keyRange(t)}
	}
	return req
}

func (a arguments) precondition(t *testing.T) *flotillav1.Precondition {
	t.Helper()
	if !a.has("mod") && !a.has("exists") && !a.has("absent") {
		return nil
	}
	p := &flotillav1.Precondition{MustExist: a.has("exists"), MustNotExist: a.has("absent")}
	if a.has("mod") {
		p.ModRevision = new(a.number(t, "mod"))
	}
	return p
}

func (a arguments) fence(t *testing.T) *flotillav1.Fence {
	t.Helper()
	for _, arg := range a {
		if arg.Key == "fence" {
			require.Len(t, arg.Vals, 2)
			token, err := strconv.ParseUint(arg.Vals[1], 10, 64)
			require.NoError(t, err)
			return &flotillav1.Fence{Lock: arg.Vals[0], Token: token}
		}
	}
	return nil
}

func (a arguments) compare(t *testing.T) *flotillav1.Compare {
	t.Helper()
	c := &flotillav1.Compare{}
	switch {
	case a.has("not"):
		c.Relation = flotillav1.Compare_RELATION_NOT_EQUAL
	case a.has("less"):
		c.Relation = flotillav1.Compare_RELATION_LESS
	case a.has("greater"):
		c.Relation = flotillav1.Compare_RELATION_GREATER
	}
	if a.has("key") {
		c.Subject = &flotillav1.Compare_Key{Key: a.text(t, "key")}
	} else {
		c.Subject = &flotillav1.Compare_Range{Range: a.keyRange(t)}
	}
	switch {
	case a.has("value"):
		c.Target = &flotillav1.Compare_Value{Value: a.text(t, "value")}
	case a.has("version"):
		c.Target = &flotillav1.Compare_Version{Version: a.number(t, "version")}
	case a.has("create"):
		c.Target = &flotillav1.Compare_CreateRevision{CreateRevision: a.number(t, "create")}
	case a.has("mod"):
		c.Target = &flotillav1.Compare_ModRevision{ModRevision: a.number(t, "mod")}
	case a.has("lease"):
		c.Target = &flotillav1.Compare_Lease{Lease: int64(a.number(t, "lease"))}
	}
	return c
}
