package machine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flotillakv/flotilla/tenancy"
)

// The bounds on kept answers, for tests.
const (
	AnswersKeptMax     = answersKeptMax
	AnswersOutlivedMax = answersOutlivedMax
)

// KeepAnswers has a machine keep another number of answers, which is the same on all
// replicas. It is called before Load.
func (m *Machine) KeepAnswers(max int) { m.requests.max = max }

// RequestDigest is how a request id of a namespace is told apart in KeptAnswers.
func RequestDigest(ns tenancy.NamespaceID, requestID string) string {
	return fmt.Sprintf("%x", digestOf(ns, requestID))
}

// KeptAnswers is the digests of the kept answers of each namespace, oldest first.
func (m *Machine) KeptAnswers() map[tenancy.NamespaceID][]string {
	kept := make(map[tenancy.NamespaceID][]string)
	r := m.requests
	for ns, one := range r.byNamespace {
		for number := one.oldest; len(kept[ns]) < one.count; number = r.answers[number].next {
			kept[ns] = append(kept[ns], fmt.Sprintf("%x", r.answers[number].digest))
		}
	}
	return kept
}

// AnswerBytes is the bytes of all answers that are stored, and of those that are kept.
func (m *Machine) AnswerBytes() (stored, kept int) {
	return m.requests.entries.stored, m.requests.entries.kept
}

// AnswersIndex describes all that decides what the index does next.
func (m *Machine) AnswersIndex() string {
	var out strings.Builder
	r := m.requests
	fmt.Fprintf(&out, "%d kept, %d found, %d of %d bytes\n", r.count, len(r.at), r.entries.kept, r.entries.stored)
	for _, ns := range slices.Sorted(maps.Keys(r.byNamespace)) {
		one := r.byNamespace[ns]
		fmt.Fprintf(&out, "namespace %d: %d after %d\n", ns, one.count, one.forgotten)
		for number, i := one.oldest, 0; i < one.count; number, i = r.answers[number].next, i+1 {
			a := r.answers[number]
			fmt.Fprintf(&out, "  %x in %d, %d bytes, found %t\n", a.digest, a.entry, a.bytes, r.at[a.digest] == number)
		}
	}
	for _, e := range r.entries.all {
		if e.kept == 0 {
			continue
		}
		fmt.Fprintf(&out, "entry %d at %d: %d of %d bytes, of", e.index, e.timeMS, e.kept, e.stored)
		for _, one := range e.keepers {
			if r.has(one, e.index) {
				fmt.Fprintf(&out, " %d", one.ns)
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}
