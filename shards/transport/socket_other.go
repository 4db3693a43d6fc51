//go:build !linux

package transport

import (
	"net"
	"time"
)

// boundUnacked does nothing where the kernel has no such bound: there the
// deadlines of writes and reads alone find a connection that is dead.
func boundUnacked(*net.TCPConn, time.Duration) {}
