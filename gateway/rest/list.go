package rest

import (
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// keyList is the JSON of a list. Revisions are strings, because a JSON number
// loses digits beyond 2^53.
type keyList struct {
	Revision string    `json:"revision"`
	Keys     []listKey `json:"keys"`
	More     bool      `json:"more,omitempty"`
	// Next continues the list: pass it as `start`, with `revision`.
	Next       string `json:"next,omitempty"`
	NextBase64 []byte `json:"next_base64,omitempty"`
}

// listKey is one key. What is not valid UTF-8 is given in base64 instead.
type listKey struct {
	Key            string `json:"key,omitempty"`
	KeyBase64      []byte `json:"key_base64,omitempty"`
	Value          string `json:"value,omitempty"`
	ValueBase64    []byte `json:"value_base64,omitempty"`
	CreateRevision string `json:"create_revision"`
	ModRevision    string `json:"mod_revision"`
	Version        string `json:"version"`
}

// list serves GET /v1/kv?prefix=&start=&end=&limit=&revision=&keys_only=&serializable=.
func (h *Handler) list(w http.ResponseWriter, r *http.Request, t target) error {
	if err := onlyParams(r, "prefix", "start", "end", "limit", "revision", "keys_only", "serializable", "watch"); err != nil {
		return err
	}
	query := r.URL.Query()
	limit, err := uintParam(r, "limit")
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = listKeysDefault
	}
	revision, err := uintParam(r, "revision")
	if err != nil {
		return err
	}
	keysOnly, err := boolParam(r, "keys_only")
	if err != nil {
		return err
	}
	serializable, err := boolParam(r, "serializable")
	if err != nil {
		return err
	}
	response, err := route.Do[*flotillav1.RangeResponse](r.Context(), h.kv, &flotillav1.RangeRequest{
		Namespace: t.namespace, Limit: limit, Revision: revision, KeysOnly: keysOnly, Serializable: serializable,
		Keys: &flotillav1.KeyRange{
			Prefix: []byte(query.Get("prefix")), Start: []byte(query.Get("start")), End: []byte(query.Get("end")),
		},
	})
	if err != nil {
		return err
	}
	setRevision(w, response.GetRevision())
	list := keyList{
		Revision: strconv.FormatUint(response.GetReadRevision(), 10),
		Keys:     make([]listKey, len(response.GetKvs())), More: response.GetMore(),
	}
	list.Next, list.NextBase64 = text(response.GetNextKey())
	for i, kv := range response.GetKvs() {
		list.Keys[i] = listKeyOf(kv)
	}
	return writeJSON(w, list)
}

func listKeyOf(kv *flotillav1.KeyValue) listKey {
	k := listKey{
		CreateRevision: strconv.FormatUint(kv.GetCreateRevision(), 10),
		ModRevision:    strconv.FormatUint(kv.GetModRevision(), 10),
		Version:        strconv.FormatUint(kv.GetVersion(), 10),
	}
	k.Key, k.KeyBase64 = text(kv.GetKey())
	k.Value, k.ValueBase64 = text(kv.GetValue())
	return k
}

// text gives bytes as a string if they are one.
func text(b []byte) (valid string, other []byte) {
	if utf8.Valid(b) {
		return string(b), nil
	}
	return "", b
}
