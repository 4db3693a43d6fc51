package tenancy

import (
	"bytes"
	"slices"
	"strings"
)

// Action is what may be done, as a set: ActionRead|ActionWrite is both. No
// action includes another.
type Action uint16

const (
	// ActionRead is to read keys. A write that answers with what it replaced
	// reads too.
	ActionRead Action = 1 << iota
	// ActionWrite is to put, delete and compact keys.
	ActionWrite
	// ActionWatch is to watch keys, also those that are not there yet.
	ActionWatch
	// ActionLease is to grant, renew and revoke leases. It is asked for with
	// AllKeys, because a lease may have any key of its namespace.
	ActionLease
	// ActionLock is to take and give back locks and leaderships, by name.
	ActionLock
	// ActionQueueSend is to send to queues, by name.
	ActionQueueSend
	// ActionQueueReceive is to receive from queues, by name.
	ActionQueueReceive
	// ActionAdmin is to administrate the tenant: its namespaces, credentials and
	// usage. It is asked for with AllKeys of all namespaces.
	ActionAdmin
)

// AllActions is every action.
const AllActions = ActionAdmin<<1 - 1

// actionNames are the actions' names in their order.
//
//nolint:gochecknoglobals // a constant in all but its type
var actionNames = [...]string{"read", "write", "watch", "lease", "lock", "queue-send", "queue-receive", "admin"}

// String names the actions, as in "read|write".
func (a Action) String() string {
	var names []string
	for i, name := range actionNames {
		if a&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// ParseAction is the action of a name, such as "queue-send".
func ParseAction(name string) (action Action, ok bool) {
	i := slices.Index(actionNames[:], name)
	if i < 0 {
		return 0, false
	}
	return 1 << i, true
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

// Reach says whether anything is allowed in a namespace but to administrate it. Who
// may do nothing there is told nothing of it, not even how much it holds.
func (ps Permissions) Reach(namespace string) bool {
	return slices.ContainsFunc(ps, func(p Permission) bool {
		return p.Actions&^ActionAdmin != 0 && (p.Namespace == "" || p.Namespace == namespace)
	})
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
