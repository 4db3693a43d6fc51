package process

import (
	"os/exec"
	"syscall"
)

// endWithParent ends the program when the test binary ends without its
// cleanups, as it does after a time-out.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
