package mvcc

import (
	"bytes"
	"cmp"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// holdAll says whether all comparisons hold. It stops at the first that fails.
func (t *txn) holdAll(compares []*flotillav1.Compare) (bool, error) {
	for _, c := range compares {
		if ok, err := t.holds(c); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (t *txn) holds(c *flotillav1.Compare) (bool, error) {
	if _, isRange := c.GetSubject().(*flotillav1.Compare_Range); isRange {
		return t.view().holdsForRange(c)
	}
	cur, err := t.compared(c)
	if err != nil {
		return false, err
	}
	return matches(c, cur), nil
}

// compared finds the key of a comparison, with its value only if that is what
// is compared.
func (t *txn) compared(c *flotillav1.Compare) (current, error) {
	if _, isValue := c.GetTarget().(*flotillav1.Compare_Value); isValue {
		return lookup(&t.set, c.GetKey(), t.st.Revision)
	}
	return lookupHead(&t.set, c.GetKey())
}

// holdsForRange says whether a comparison holds for every key of a range. A
// range without keys is compared as one key that does not exist, as in etcd.
func (v view) holdsForRange(c *flotillav1.Compare) (bool, error) {
	holds := matches(c, current{})
	start, end, empty := Bounds(c.GetRange())
	if empty {
		return holds, nil
	}
	err := v.walk(start, end, v.revision, false, func(_ []byte, cur current) (bool, error) {
		holds = matches(c, cur)
		return holds, nil
	})
	return holds, err
}

// matches compares one key. One that does not exist has no value, which is not
// the same as an empty one: a comparison of its value fails whatever the
// relation, as in etcd.
func matches(c *flotillav1.Compare, cur current) bool {
	var order int
	switch target := c.GetTarget().(type) {
	case *flotillav1.Compare_Value:
		if !cur.exists {
			return false
		}
		order = bytes.Compare(cur.Value, target.Value)
	case *flotillav1.Compare_Version:
		order = cmp.Compare(cur.Version.Version, target.Version)
	case *flotillav1.Compare_CreateRevision:
		order = cmp.Compare(uint64(cur.CreateRevision), target.CreateRevision)
	case *flotillav1.Compare_ModRevision:
		order = cmp.Compare(uint64(cur.mod), target.ModRevision)
	case *flotillav1.Compare_Lease:
		order = cmp.Compare(cur.Lease, target.Lease)
	}
	switch c.GetRelation() {
	case flotillav1.Compare_RELATION_NOT_EQUAL:
		return order != 0
	case flotillav1.Compare_RELATION_LESS:
		return order < 0
	case flotillav1.Compare_RELATION_GREATER:
		return order > 0
	case flotillav1.Compare_RELATION_UNSPECIFIED, flotillav1.Compare_RELATION_EQUAL:
	}
	return order == 0
}
