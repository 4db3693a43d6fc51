//go:build faults

package fault

import (
	"encoding/json"
	"os"
	"sync/atomic"
	"time"
	"unsafe"
)

// lookEvery is how often the file is looked at, at most.
const lookEvery = 50 * time.Millisecond

// settings are what is wrong at present.
type settings struct {
	SyncDelayMS      int64 `json:"sync_delay_ms"`
	ClockStepSeconds int64 `json:"clock_step_seconds"`
	StaleReads       bool  `json:"stale_reads"`
}

//nolint:gochecknoglobals // like the disk and the clock, they are the process's own
var (
	start  = time.Now()
	looked atomic.Int64 // when the file was looked at, since start; 0 is never
	known  atomic.Pointer[settings]
)

// present returns the settings, which are at most lookEvery old.
func present() settings {
	last, now := looked.Load(), int64(time.Since(start))
	if (last == 0 || now-last > int64(lookEvery)) && looked.CompareAndSwap(last, now) {
		known.Store(read(os.Getenv("FLOTILLA_FAULTS")))
	}
	if s := known.Load(); s != nil {
		return *s
	}
	return settings{}
}

// read reads a file. A test sees that it was not understood: nothing is wrong then.
func read(path string) *settings {
	s := &settings{}
	data, err := os.ReadFile(path) //nolint:gosec // who starts the program names it
	if err != nil || json.Unmarshal(data, s) != nil {
		return &settings{}
	}
	return s
}

// Now is the time, on a clock that was set.
func Now() time.Time { return step(time.Now(), present().ClockStepSeconds) }

// step sets the wall clock of a time and leaves its monotonic clock alone, as it is
// when a machine's clock is set. There is no function for that: Add moves both. The
// wall clock's seconds are what is above the lowest 30 bits of a time's first word.
func step(t time.Time, seconds int64) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(seconds) << 30 //nolint:gosec // see above; a test holds it to that
	return t
}

// StaleReads is whether linearizable reads are served without asking the leader:
// the bug that a checker must find.
func StaleReads() bool { return present().StaleReads }

// BeforeSync waits for as long as a sync of the disk is late.
func BeforeSync() {
	if delay := present().SyncDelayMS; delay > 0 {
		<-time.After(time.Duration(delay) * time.Millisecond)
	}
}
