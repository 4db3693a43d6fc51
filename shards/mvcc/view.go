package mvcc

// versionReader is what reading keys needs of storage: a Reader, or a Reader
// under the writes of a transaction.
type versionReader interface {
	Version(key []byte, at Revision) (rev Revision, value []byte, ok bool, err error)
	Versions(start, end []byte, at Revision, descending bool) VersionIterator
}

// view is the key space as one request sees it.
type view struct {
	r  versionReader
	st *State
	// revision is the newest one: the state's, or the one of the transaction
	// that is running once it has written.
	revision Revision
	// budget is what reading may cost.
	budget *budget
	// asking is how it is found out whether to go on; nil for what always does.
	asking *asking
}

// current is the version of a key at some revision.
type current struct {
	Version
	// exists says whether the key does; all else is zero otherwise.
	exists bool
	// mod is the key's mod_revision.
	mod Revision
	// valueBytes is the size of the value, also if that was not read.
	valueBytes int
}

// lookup finds the version of key at a readable revision. Its value is valid
// until the next call on the storage.
func lookup(r versionReader, key []byte, at Revision) (current, error) {
	mod, stored, ok, err := r.Version(key, at)
	if err != nil || !ok {
		return current{}, err
	}
	v, err := DecodeVersion(stored)
	if err != nil || v.Tombstone {
		return current{}, err
	}
	return current{Version: v, exists: true, mod: mod, valueBytes: len(v.Value)}, nil
}

// headReader finds a key's newest version with or without its value.
type headReader interface {
	versionReader
	Head(key []byte) (Head, error)
}

// lookupHead finds the newest version of key, without its value.
func lookupHead(r headReader, key []byte) (current, error) {
	h, err := r.Head(key)
	if err != nil || !h.Exists {
		return current{}, err
	}
	return current{
		Version:    Version{CreateRevision: h.CreateRevision, Version: h.Version, Lease: h.Lease},
		exists:     true,
		mod:        h.ModRevision,
		valueBytes: h.ValueBytes,
	}, nil
}

// visitFunc sees one existing key of a range. Its arguments are valid until it
// returns; it ends the visit by returning false or an error.
type visitFunc func(key []byte, cur current) (more bool, err error)

// walk visits the keys of [start, end) that exist at a readable revision, in
// order, and counts each against the budget.
func (v view) walk(start, end []byte, at Revision, descending bool, visit visitFunc) error {
	it := v.r.Versions(start, end, at, descending)
	err := v.each(it, visit)
	if closeErr := it.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (v view) each(it VersionIterator, visit visitFunc) error {
	for it.Next() {
		if err := v.asking.visit(); err != nil {
			return err
		}
		stored, err := it.Value()
		if err != nil {
			return err
		}
		version, err := DecodeVersion(stored)
		if err != nil {
			return err
		}
		if version.Tombstone {
			continue
		}
		if err := v.budget.visit(); err != nil {
			return err
		}
		more, err := visit(it.Key(), current{
			Version: version, exists: true, mod: it.Revision(), valueBytes: len(version.Value),
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}
