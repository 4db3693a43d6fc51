package tidy

import (
	"go/ast"
	"go/token"
	"path"
	"strconv"
	"strings"
)

// checkOrphanTestdata looks for files in testdata that no test reads. A test
// reads a file when a string of its package holds the file's name, or names a
// directory above it.
func checkOrphanTestdata(t *Tree) ([]Finding, error) {
	literals := map[string][]string{}
	functions := map[string]map[string]bool{}
	for _, f := range t.GoFiles() {
		dir := f.Dir()
		literals[dir] = append(literals[dir], stringLiterals(f.Syntax)...)
		if functions[dir] == nil {
			functions[dir] = map[string]bool{}
		}
		for _, decl := range f.Syntax.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok {
				functions[dir][fn.Name.Name] = true
			}
		}
	}
	var findings []Finding
	for _, f := range t.Files {
		dir, inner, ok := strings.Cut(f.Path, "/testdata/")
		if !ok || strings.HasPrefix(inner, "rapid/") { // which rapid writes when a check fails, and replays; never committed
			continue
		}
		used := isRead("testdata/"+inner, literals[dir])
		if corpus, ok := strings.CutPrefix(inner, "fuzz/"); ok {
			target, _, _ := strings.Cut(corpus, "/")
			used = functions[dir][target]
		}
		if !used {
			findings = append(findings, Finding{
				Path: f.Path, What: "is read by no test of " + dir,
				Why: "data that no test reads looks like a test and is none",
			})
		}
	}
	return findings, nil
}

func isRead(file string, literals []string) bool {
	for _, literal := range literals {
		if literal == path.Base(file) || strings.HasSuffix(literal, "/"+path.Base(file)) {
			return true
		}
		if !under(literal, "testdata") {
			continue
		}
		// A directory, or a pattern in it, that is read as a whole.
		if whole := strings.TrimSuffix(literal, "/"); under(file, whole) {
			return true
		}
		if match, err := path.Match(literal, file); err == nil && match {
			return true
		}
	}
	return false
}

func stringLiterals(file *ast.File) []string {
	var literals []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if value, err := strconv.Unquote(lit.Value); err == nil {
				literals = append(literals, value)
			}
		}
		return true
	})
	return literals
}
