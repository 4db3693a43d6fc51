package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

const programPackage = "github.com/flotillakv/flotilla/ops/cmd/flotilla"

// program is the built program of this test binary.
var program struct {
	build sync.Once
	dir   string // made by build; removed by Main
	path  string
	err   error
}

// Main runs the tests of a package and removes what they built. It returns the
// exit code for os.Exit.
func Main(m *testing.M) int {
	code := m.Run()
	if program.dir != "" {
		if err := os.RemoveAll(program.dir); err != nil {
			fmt.Fprintln(os.Stderr, "remove the built program:", err)
		}
	}
	return code
}

// moduleRoot is the directory of the program's module: tests of other modules
// use it too, and build it as it is built everywhere.
func moduleRoot() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// programPath builds the program with the first call, with the race detector
// if the tests have it, and returns its path.
func programPath(t *testing.T) string {
	t.Helper()
	program.build.Do(func() {
		//nolint:usetesting // it is there for later tests too
		if program.dir, program.err = os.MkdirTemp("", "flotilla-program-"); program.err != nil {
			return
		}
		program.path = filepath.Join(program.dir, "flotilla")
		args := []string{"build", "-o", program.path}
		if raceDetector {
			args = append(args, "-race")
		}
		// Not the context of the test that happens to be first.
		cmd := exec.Command("go", append(args, programPackage)...)
		cmd.Dir = moduleRoot()
		output, err := cmd.CombinedOutput()
		if err != nil {
			program.err = fmt.Errorf("build %s: %w\n%s", programPackage, err, output)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.path
}
