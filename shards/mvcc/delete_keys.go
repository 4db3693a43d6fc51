package mvcc

// DeleteKeys removes the keys given, each of them once, in one revision, and
// returns how many there were. Nothing bounds it but the caller, who knows the
// keys. Removing nothing consumes no revision. It never refuses: its error is a
// failure of storage. The keys are not kept.
func DeleteKeys(w Writer, st *State, h Hooks, keys [][]byte) (deleted int, err error) {
	t := newTxn(w, st, h)
	d := deletion{txn: t, writes: make([]write, 0, len(keys))}
	for _, key := range keys {
		cur, err := lookupHead(w, key)
		if err != nil {
			return 0, err
		}
		if !cur.exists {
			continue
		}
		if err := d.remove(key, cur); err != nil {
			return 0, err
		}
	}
	t.set.add(d.writes...)
	return len(d.writes), t.commit()
}
