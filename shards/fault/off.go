//go:build !faults

package fault

import "time"

// Now is the time.
func Now() time.Time { return time.Now() }

// StaleReads is whether linearizable reads are served without asking the leader.
func StaleReads() bool { return false }
