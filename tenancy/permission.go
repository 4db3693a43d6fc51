package tenancy

import (
	"bytes"
	"slices"
	"strings"
)

// Action is what may be done, as a set: ActionRead|ActionWrite is both. No
// action includes another.
type Action uint8

const (
	// ActionRead is to read and watch keys. A write that answers with what it
	// replaced reads too.
	ActionRead Action = 1 << iota
	// ActionWrite is to put, delete and compact keys.
	ActionWrite
	// ActionAdmin is to create namespaces and to make and revoke credentials.
	// It is asked for with AllKeys.
	ActionAdmin
)

// AllActions is every action.
const AllActions = ActionRead | ActionWrite | ActionAdmin

// String names the actions, as in "read|write".
func (a Action) String() string {
	var names []string
	for _, one := range []struct {
		action Action
		name   string
	}{{ActionRead, "read"}, {ActionWrite, "write"}, {ActionAdmin, "admin"}} {
		if a&one.action != 0 {
			names = append(names, one.name)
		}
	}
	return strings.Join(names, "|")
}

// Span is the keys from Start on that are less than End, in byte order. An
// empty End is no upper bound, so the zero Span is every key.
type Span struct {
	Start, End []byte
}

// AllKeys is every key of a namespace.
func AllKeys() Span { return Span{} }

// OneKey is the span of a single key.
func OneKey(key []byte) Span {
	// The next key in byte order is the same with a zero byte behind it.
	return Span{Start: key, End: append(slices.Clip(key), 0)}
}

// Permission allows actions on the keys of a namespace that begin with a
// prefix.
type Permission struct {
	// Actions are what it allows.
	Actions Action
	// Namespace is the namespace's name; empty is all of the tenant.
	Namespace string
	// Prefix is what the keys begin with; empty is every key.
	Prefix []byte
}

// Permissions allow what any one of them allows.
type Permissions []Permission

// FullAccess allows everything in the tenant.
func FullAccess() Permissions { return Permissions{{Actions: AllActions}} }

// Allow says whether every one of the actions is allowed on every key of the
// span, each action by one permission. A span that several permissions cover
// only together is not allowed.
func (ps Permissions) Allow(actions Action, namespace string, keys Span) bool {
	if actions == 0 {
		return false
	}
	missing := actions
	for i := range ps {
		if ps[i].covers(namespace, keys) {
			missing &^= ps[i].Actions
		}
	}
	return missing == 0
}

func (p *Permission) covers(namespace string, keys Span) bool {
	if p.Namespace != "" && p.Namespace != namespace {
		return false
	}
	if len(p.Prefix) == 0 {
		return true
	}
	if !bytes.HasPrefix(keys.Start, p.Prefix) {
		return false
	}
	end := prefixEnd(p.Prefix)
	if end == nil {
		return true
	}
	return len(keys.End) > 0 && bytes.Compare(keys.End, end) <= 0
}

// prefixEnd returns the first key after those with the prefix, nil when there
// is none: after 0xff only longer keys of 0xff follow.
func prefixEnd(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
