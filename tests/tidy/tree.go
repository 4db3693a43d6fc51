package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// Tree is a checkout of the repository, read once and shared by the checks.
// It is not changed after Load.
type Tree struct {
	// Root is the directory of the checkout.
	Root string
	// Module is the module path that go.mod names.
	Module string
	// Mod is the parsed go.mod of the root module.
	Mod *modfile.File
	// Files are all files of the tree, by path.
	Files []File
	// Fset has the positions of all parsed files.
	Fset *token.FileSet
}

// File is one file of the tree.
type File struct {
	// Path is relative to the root, with forward slashes.
	Path string
	// Data is the content.
	Data []byte
	// Syntax is set for Go files outside testdata.
	Syntax *ast.File
	// Generated is set when a tool wrote the file.
	Generated bool
}

// Dir is the directory of the file, relative to the root.
func (f *File) Dir() string { return path.Dir(f.Path) }

// IsTest says whether it is a Go test file.
func (f *File) IsTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// InTestdata says whether the file belongs to the data of a test.
func (f *File) InTestdata() bool {
	return slices.Contains(strings.Split(f.Dir(), "/"), "testdata")
}

// Load reads the tree at root. Hidden directories, the products of the build
// and installed packages are left out.
func Load(root string) (*Tree, error) {
	t := &Tree{Root: root, Fset: token.NewFileSet()}
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, err
	}
	if t.Mod, err = modfile.Parse("go.mod", gomod, nil); err != nil {
		return nil, err
	}
	t.Module = t.Mod.Module.Mod.Path
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case entry.IsDir() && skipDir(rel):
			return filepath.SkipDir
		case rel == builtProgram, !entry.Type().IsRegular():
			return nil
		}
		return t.add(name, rel)
	})
	if err != nil {
		return nil, fmt.Errorf("read the tree: %w", err)
	}
	return t, nil
}

func skipDir(rel string) bool {
	base := path.Base(rel)
	switch {
	case rel == "." || rel == ".ci":
		return false
	case strings.HasPrefix(base, "."), base == "node_modules":
		return true
	}
	return rel == "bin" || rel == "flotilla-data"
}

// builtProgram is what `go build ./ops/cmd/flotilla` leaves in the root, which
// git ignores.
const builtProgram = "flotilla"

func (t *Tree) add(name, rel string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	f := File{Path: rel, Data: data}
	if strings.HasSuffix(rel, ".go") && !f.InTestdata() {
		f.Syntax, err = parser.ParseFile(t.Fset, rel, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		f.Generated = ast.IsGenerated(f.Syntax)
	}
	t.Files = append(t.Files, f)
	return nil
}

// GoFiles returns the parsed Go files of all modules of the tree.
func (t *Tree) GoFiles() []*File {
	var files []*File
	for i := range t.Files {
		if t.Files[i].Syntax != nil {
			files = append(files, &t.Files[i])
		}
	}
	return files
}

// File returns the file at a path, or nil.
func (t *Tree) File(path string) *File {
	i := slices.IndexFunc(t.Files, func(f File) bool { return f.Path == path })
	if i < 0 {
		return nil
	}
	return &t.Files[i]
}

// line returns the line of a position of a parsed file.
func (t *Tree) line(pos token.Pos) int { return t.Fset.Position(pos).Line }

// lines splits a file into lines, without a last empty one.
func (f *File) lines() []string {
	text := string(bytes.TrimSuffix(f.Data, []byte("\n")))
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// under says whether a directory is dir or inside it.
func under(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, dir+"/")
}
