package intercept

import (
	"fmt"
	"runtime/debug"
)

// Recovered turns a panic of the function that defers it into the error that
// the function returns. A panic ends the process for every tenant unless it is
// caught on its own goroutine, so each goroutine that a handler starts needs
// one of its own:
//
//	go func() { failed <- receive() }()
//
//	func receive() (err error) {
//		defer intercept.Recovered(&err)
func Recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}
