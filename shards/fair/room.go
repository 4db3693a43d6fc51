package fair

// Fits tells whether a tenant that holds so much of a room may hold more, while so much
// of the room is used by all:
//
//	F3: a tenant that holds something gets more only if it then holds no more than
//	    tenantMax, and no more than its Share of what is left free then. One that
//	    holds nothing gets what is no more than half of what is free.
func Fits(held, more, used, tenantMax, room int) bool {
	if held == 0 {
		return 2*more <= room-used+1
	}
	return held+more <= min(tenantMax, Share(room-used-more, room))
}

// A Room is something bounded of which tenants K hold parts, each for a while. Its
// tenants keep to F3, and the platform to F4. What somebody takes while all of it is
// free is given whatever its size. The caller locks.
type Room[K comparable] struct {
	max, tenantMax int
	platform       K
	used           int
	// held has those that hold something.
	held map[K]int
}

// NewRoom makes a room that is free. Of so much a tenant holds a quarter at most, which
// is about what Share leaves to a lone one; so does the platform, besides.
func NewRoom[K comparable](most int, platform K) *Room[K] {
	return &Room[K]{max: most, tenantMax: max(1, most/4), platform: platform, held: make(map[K]int)}
}

// Fits tells whether a tenant may take so much more.
func (r *Room[K]) Fits(key K, more int) bool {
	held := r.held[key]
	switch {
	case r.used == 0 || held == 0 && key == r.platform:
		return true
	case key == r.platform:
		return held+more <= r.tenantMax
	default:
		return Fits(held, more, r.used, r.tenantMax, r.max)
	}
}

// Take counts what a tenant takes, which must be positive.
func (r *Room[K]) Take(key K, n int) {
	r.used += n
	r.held[key] += n
}

// GiveBack counts what a tenant took and gives back.
func (r *Room[K]) GiveBack(key K, n int) {
	r.used -= n
	if left := r.held[key] - n; left > 0 {
		r.held[key] = left
	} else {
		delete(r.held, key)
	}
}

// Used is how much is held of the room.
func (r *Room[K]) Used() int { return r.used }
