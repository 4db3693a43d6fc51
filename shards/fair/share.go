package fair

// Share is how much of a room one tenant may hold while so much is left free: the room
// times the fourth power of the part that is free. It is a dynamic threshold (Choudhury
// and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998):
// the more others hold the less is let in, so the room never fills, and those who hold
// too much lose it as they are served.
//
// Whatever n tenants do that keep to it, in whatever order, they leave the part
// 1/∛(3n+1) free: one 63%, sixteen 27%, a thousand 7%. For let the i-th of them, by when
// they last put something in, hold h, and x be the part that it and those before leave
// now, of what those before leave, y: then h ≤ x⁴, so y ≤ x+x⁴, and 1/x³ ≤ 1/y³+3.
//
// The threshold of the paper is in proportion to what is free. That settles at 1/(n+1)
// in time, but before anybody is served a tenant that comes later takes half of what is
// left, and twenty leave nothing. The fourth power is the steepest that lets a lone
// tenant have a quarter of the room.
func Share(free, room int) int {
	part := float64(max(free, 0)) / float64(room)
	return int(part * part * part * part * float64(room))
}
