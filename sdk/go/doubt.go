package flotilla

import (
	"errors"
	"time"

	"connectrpc.com/connect"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// A server may be reached that cannot reach the others. It answers, but never with
// what was asked for, so it is left as if it were down.
const (
	// doubtfulMax is how many such answers in a row a call takes from an endpoint.
	doubtfulMax = 2
	// doubtedMax is for how long calls may end at an endpoint for such answers, or
	// because their time was over, while none gets through. It is longer than it takes
	// to elect a leader.
	doubtedMax = 2 * time.Second
	// doubtEvery is how often endpoints are left for this at most. Where no leader is
	// to be had anywhere, to go from one to the next helps nobody.
	doubtEvery = time.Second
)

// A visitor is a call that makes its attempts at endpoints.
type visitor struct {
	all      *endpoints
	place    int
	doubtful int // answers in a row from there
}

// visit begins an attempt at an endpoint.
func (v *visitor) visit(place int) {
	if place != v.place {
		v.place, v.doubtful = place, 0
	}
}

// ended tells how the attempt ended: nil that the endpoint reached who leads.
func (v *visitor) ended(err error) {
	if err == nil {
		v.all.trust(v.place)
		return
	}
	v.all.noteFailure(v.place, err)
	var failed *Error
	switch {
	case !errors.As(err, &failed):
	case failed.Reason == flotillav1.Reason_REASON_NOT_LEADER || failed.Reason == flotillav1.Reason_REASON_OUTCOME_UNKNOWN:
		v.doubtful++
		v.all.doubt(v.place, v.doubtful >= doubtfulMax)
		return
	case failed.Code == connect.CodeDeadlineExceeded:
		v.all.doubt(v.place, false)
	}
	v.doubtful = 0
}

// trust notes that a call got through at an endpoint. It is on the way of every call.
func (e *endpoints) trust(place int) {
	if e.doubted[place].Load() != nil {
		e.doubted[place].Store(nil)
	}
}

// doubt notes that a call did not get through at an endpoint, and leaves it if that has
// been so for long, or is enough by itself.
func (e *endpoints) doubt(place int, enough bool) {
	now := time.Now()
	e.doubted[place].CompareAndSwap(nil, &now)
	since := e.doubted[place].Load()
	if !enough && (since == nil || now.Sub(*since) < doubtedMax) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Sub(e.doubtLeft) >= doubtEvery && e.moveOn(place) {
		e.doubtLeft = now
		e.doubted[place].Store(nil) // when it is gone to again, it is judged anew
	}
}
