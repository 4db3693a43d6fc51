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

// programs are the built programs of this test binary.
var programs struct {
	mu sync.Mutex
	// dir is made with the first; Main removes it.
	dir string
	// byTags are the paths, by the tags that they were built with, or why there is
	// none.
	byTags map[string]program
}

type program struct {
	path string
	err  error
}

// Main runs the tests of a package and removes what they built. It returns the
// exit code for os.Exit.
func Main(m *testing.M) int {
	code := m.Run()
	if programs.dir != "" {
		if err := os.RemoveAll(programs.dir); err != nil {
			fmt.Fprintln(os.Stderr, "remove the built programs:", err)
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

// programPath builds the program with the first call for these tags, with the race
// detector if the tests have it, and returns its path.
func programPath(t *testing.T, tags string) string {
	t.Helper()
	programs.mu.Lock()
	defer programs.mu.Unlock()
	p, ok := programs.byTags[tags]
	if !ok {
		p.path, p.err = build(tags)
		if programs.byTags == nil {
			programs.byTags = make(map[string]program)
		}
		programs.byTags[tags] = p
	}
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.path
}

// build builds the program. It needs the lock of programs.
func build(tags string) (path string, err error) {
	if programs.dir == "" {
		if programs.dir, err = os.MkdirTemp("", "flotilla-program-"); err != nil {
			return "", err
		}
	}
	path = filepath.Join(programs.dir, "flotilla-"+tags)
	args := []string{"build", "-o", path, "-tags", tags}
	if raceDetector {
		args = append(args, "-race")
	}
	// Not the context of the test that happens to be first.
	cmd := exec.Command("go", append(args, programPackage)...)
	cmd.Dir = moduleRoot()
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", programPackage, err, output)
	}
	return path, nil
}
