package fair

// Ready tells whether there are items that go next: not all lines are aside.
func (q *Queue[K, T]) Ready() bool { return q.next != nil }

// Resume lets a tenant's line have its turns again, after those of all others, if it
// is aside.
func (q *Queue[K, T]) Resume(key K) {
	if l := q.lines[key]; l != nil && l.aside {
		q.resume(l)
	}
}

// ResumeFirst resumes the line that was put aside first. It returns false if none is.
func (q *Queue[K, T]) ResumeFirst() bool {
	if q.aside == nil {
		return false
	}
	q.resume(q.aside)
	return true
}

// putAside takes the line whose turn it is out of the ring. It saves nothing up.
func (q *Queue[K, T]) putAside(l *line[K, T]) {
	q.next = q.next.without(l)
	l.deficit, l.served, l.aside = 0, false, true
	q.aside = q.aside.before(l)
}

func (q *Queue[K, T]) resume(l *line[K, T]) {
	q.aside = q.aside.without(l)
	l.aside = false
	q.next = q.next.before(l)
}

// before puts a line into a ring, at its end: just before its first line, which is nil
// if it is empty. It returns the first one.
func (first *line[K, T]) before(l *line[K, T]) *line[K, T] {
	if first == nil {
		l.prev, l.next = l, l
		return l
	}
	l.next, l.prev = first, first.prev
	l.prev.next, l.next.prev = l, l
	return first
}

// without takes a line out of a ring, and returns its first one then.
func (first *line[K, T]) without(l *line[K, T]) *line[K, T] {
	if l.next == l {
		return nil
	}
	l.prev.next, l.next.prev = l.next, l.prev
	if first == l {
		return l.next
	}
	return first
}
