package quota

import (
	"slices"
	"time"
)

const (
	// freshFor is for how long after it has asked a node counts as one that wants
	// tokens.
	freshFor = 250 * time.Millisecond
	// knownFor is for how long after it has asked a node's count is kept.
	knownFor = time.Minute
	// nodesMax bounds the nodes whose counts are kept; of more, those that were
	// silent for longest are forgotten.
	nodesMax = 256
)

// Milli is how many parts a token has in which nodes reckon: a part of a slow rate
// may be less than a token.
const Milli = 1000

// A Shared is a bucket that several nodes spend from. Each is granted tokens ahead,
// as many as it expects to want until it asks again, and asks all the time while it
// spends. All that it tells and is told are totals since its lease began, so what
// is lost on the way, or comes twice, is made good by the next.
//
//	S1: what a node has spent beyond what it was granted is taken from the bucket
//	    when it tells, and what it was granted and does not want goes back. So in the
//	    end exactly what was spent is taken.
//	S2: when there is less than the nodes want together each gets the same part of
//	    what it wants: a caller's chance is the same at every node.
type Shared struct {
	bucket Bucket
	nodes  []lease
}

// lease is what one node has.
type lease struct {
	node         string
	id           uint64
	spent, given int64 // totals, as in Ask
	self         int64
	want         int64
	heard        time.Time
}

// Ask is what a node tells of its lease. Tokens are in parts of Milli.
type Ask struct {
	// Node is who asks, and Lease the number of its lease: another one than before
	// begins anew.
	Node  string
	Lease uint64
	// Spent is what was spent, in all.
	Spent int64
	// Granted is what was granted, in all, as far as the node knows.
	Granted int64
	// Self is what the node granted itself, in all, while it could ask nobody. It is
	// part of Granted too.
	Self int64
	// Want is how much the node would like to have in hand; 0 gives all back.
	Want int64
}

// NewShared makes a full bucket that no node spends from.
func NewShared(rate Rate, now time.Time) Shared { return Shared{bucket: NewBucket(rate, now)} }

// Bucket is the bucket itself, for who spends from it at once.
func (s *Shared) Bucket() *Bucket { return &s.bucket }

// Ask takes over what a node tells, and returns the total that it is granted from
// now on.
func (s *Shared) Ask(a Ask, now time.Time) (granted int64) {
	l := s.lease(a)
	l.want, l.heard = a.Want, now
	l.spent = max(l.spent, a.Spent)
	if more := a.Self - l.self; more > 0 {
		// What came meanwhile was not given to anybody else: it is taken from that.
		s.bucket.Drain(float64(more)/Milli, now)
		l.self = a.Self
		l.given += more
	}
	if debt := l.spent - l.given; debt > 0 {
		s.bucket.Spend(float64(debt)/Milli, now)
		l.given = l.spent
	}
	inHand := l.given - l.spent
	switch {
	case inHand > 2*a.Want: // some more than it wants may stay, else it would go to and fro
		s.bucket.Spend(-float64(inHand-a.Want)/Milli, now)
		l.given = l.spent + a.Want
	case inHand < a.Want:
		grant := min(a.Want-inHand, s.part(a.Want, now))
		s.bucket.Spend(float64(grant)/Milli, now)
		l.given += grant
	}
	return l.given
}

// part is what a node gets at most that wants so much.
func (s *Shared) part(want int64, now time.Time) int64 {
	all := int64(0)
	for i := range s.nodes {
		if now.Sub(s.nodes[i].heard) <= freshFor {
			all += s.nodes[i].want
		}
	}
	level := max(s.bucket.Level(now), 0) * Milli
	return int64(level * float64(want) / float64(max(all, want)))
}

// lease finds the lease of a node, or begins it.
func (s *Shared) lease(a Ask) *lease {
	i := slices.IndexFunc(s.nodes, func(l lease) bool { return l.node == a.Node })
	if i < 0 {
		if len(s.nodes) == nodesMax {
			s.forgetOldest()
		}
		s.nodes = append(s.nodes, lease{})
		i = len(s.nodes) - 1
	}
	l := &s.nodes[i]
	if l.node == "" || l.id != a.Lease {
		// What another home of the bucket has granted is not taken from this one.
		*l = lease{node: a.Node, id: a.Lease, given: a.Granted, self: a.Self}
	}
	return l
}

func (s *Shared) forgetOldest() {
	oldest := 0
	for i := range s.nodes {
		if s.nodes[i].heard.Before(s.nodes[oldest].heard) {
			oldest = i
		}
	}
	s.nodes = slices.Delete(s.nodes, oldest, oldest+1)
}

// Alone tells whether no node but this one wants tokens.
func (s *Shared) Alone(node string, now time.Time) bool {
	return !slices.ContainsFunc(s.nodes, func(l lease) bool {
		return l.node != node && l.want > 0 && now.Sub(l.heard) <= freshFor
	})
}

// Idle tells whether the bucket is full and no node spends from it: then it can be
// forgotten, and made anew.
func (s *Shared) Idle(now time.Time) bool {
	s.nodes = slices.DeleteFunc(s.nodes, func(l lease) bool { return now.Sub(l.heard) > knownFor })
	return len(s.nodes) == 0 && s.bucket.Full(now)
}
