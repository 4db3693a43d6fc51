package rest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
)

// onlyParams refuses parameters that a request does not take: a misspelled one
// would otherwise silently mean all keys, or the newest revision.
func onlyParams(r *http.Request, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(r.URL.Query())) {
		if !slices.Contains(known, name) {
			takes := "none"
			if len(known) > 0 {
				takes = strings.Join(known, ", ")
			}
			return &mvcc.InvalidError{Field: "query", Message: fmt.Sprintf("has a parameter %q that is not known here; it takes %s", name, takes)}
		}
	}
	return nil
}

func uintParam(r *http.Request, name string) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, &mvcc.InvalidError{Field: name, Message: "must be a whole number that is not negative"}
	}
	return n, nil
}

func boolParam(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, &mvcc.InvalidError{Field: name, Message: "must be true or false"}
	}
	return b, nil
}

// etag is a key's mod revision as HTTP spells it.
func etag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// matches tells whether an If-None-Match header names a revision.
func matches(header string, revision uint64) bool {
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == etag(revision) {
			return true
		}
	}
	return false
}

// preconditionOf is what the conditional headers of a write say:
//
//	If-Match: "7"       the key's mod revision must be 7
//	If-Match: *         the key must exist
//	If-None-Match: *    the key must not exist
func preconditionOf(r *http.Request) (*flotillav1.Precondition, error) {
	match, noneMatch := strings.TrimSpace(r.Header.Get("If-Match")), strings.TrimSpace(r.Header.Get("If-None-Match"))
	switch {
	case match == "" && noneMatch == "":
		return nil, nil
	case match != "" && noneMatch != "":
		return nil, &mvcc.InvalidError{Field: "If-Match", Message: "cannot be combined with If-None-Match"}
	case noneMatch == "*":
		return &flotillav1.Precondition{MustNotExist: true}, nil
	case noneMatch != "":
		return nil, &mvcc.InvalidError{Field: "If-None-Match", Message: "takes only * on a write: the key must not exist"}
	case match == "*":
		return &flotillav1.Precondition{MustExist: true}, nil
	}
	digits, opened := strings.CutPrefix(match, `"`)
	digits, closed := strings.CutSuffix(digits, `"`)
	revision, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || opened != closed || revision == 0 {
		return nil, &mvcc.InvalidError{Field: "If-Match", Message: "must be an ETag that a read gave, or *"}
	}
	return &flotillav1.Precondition{ModRevision: &revision}, nil
}
