// Package fault lets a test do to a running node what nothing outside of the
// process can: make its disk slow, set its clock, and have it break its word. It
// is there only in a program that is built with the tag "faults". In every other
// all of it is constant, so that the compiler leaves nothing of it behind.
//
// A test writes what is to be wrong at present to the file that the environment
// variable FLOTILLA_FAULTS names, as JSON; the file need not exist:
//
//	{"sync_delay_ms": 20, "clock_step_seconds": -3600, "stale_reads": true}
//
// It must replace the file in one step. The node looks at it every 50 ms.
package fault
