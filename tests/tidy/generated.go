package tidy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const generatedDir = "proto/gen"

// checkGenerated runs the generator beside the tree and compares.
func checkGenerated(t *Tree) ([]Finding, error) {
	fresh, err := os.MkdirTemp("", "flotilla-generated-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(fresh)
	cmd := exec.Command("go", "tool", "-modfile=ops/tools/go.mod", "buf", "generate", "-o", fresh)
	cmd.Dir = t.Root
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("buf generate: %w\n%s", err, out)
	}
	return compareDirs(filepath.Join(fresh, generatedDir), filepath.Join(t.Root, generatedDir))
}

// compareDirs returns the files of got that are not as in want.
func compareDirs(want, got string) ([]Finding, error) {
	names, err := filesIn(want, got)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, name := range names {
		wanted, wantErr := os.ReadFile(filepath.Join(want, name))
		have, gotErr := os.ReadFile(filepath.Join(got, name))
		what := ""
		switch {
		case errors.Is(wantErr, fs.ErrNotExist):
			what = "is generated from nothing any more"
		case errors.Is(gotErr, fs.ErrNotExist):
			what = "is missing"
		case wantErr != nil || gotErr != nil:
			return nil, errors.Join(wantErr, gotErr)
		case !bytes.Equal(wanted, have):
			what = "is not what the generator writes"
		}
		if what != "" {
			findings = append(findings, Finding{
				Path: generatedDir + "/" + filepath.ToSlash(name), What: what,
				Why: "the committed code must be made from the committed messages; run make generate",
			})
		}
	}
	return findings, nil
}

// filesIn returns the names of all files below the directories, sorted.
func filesIn(dirs ...string) ([]string, error) {
	var names []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			names = append(names, strings.TrimPrefix(name, dir+string(filepath.Separator)))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
