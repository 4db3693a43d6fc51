package tidy

import (
	"path"
	"slices"
	"strings"
)

// checkPackageDocs asks of every package a comment that begins as go doc
// expects it.
func checkPackageDocs(t *Tree) ([]Finding, error) {
	var findings []Finding
	byDir := map[string][]*File{}
	for _, f := range t.GoFiles() {
		if !under(f.Dir(), "proto/gen") {
			byDir[f.Dir()] = append(byDir[f.Dir()], f)
		}
	}
	for dir, files := range byDir {
		if !slices.ContainsFunc(files, isDocumented) {
			findings = append(findings, Finding{
				Path: dir, What: "no file has a package comment that begins with \"Package " + files[0].Syntax.Name.Name + "\" or \"Command " + path.Base(dir) + "\"",
				Why: "a reader must learn from the package comment what the package owns and what it never does",
			})
		}
	}
	return findings, nil
}

func isDocumented(f *File) bool {
	doc := f.Syntax.Doc.Text()
	if f.Syntax.Name.Name == "main" {
		return hasWordPrefix(doc, "Command "+path.Base(f.Dir()))
	}
	return hasWordPrefix(doc, "Package "+f.Syntax.Name.Name)
}

// hasWordPrefix says whether text begins with prefix, followed by white space,
// and goes on.
func hasWordPrefix(text, prefix string) bool {
	rest, ok := strings.CutPrefix(text, prefix)
	return ok && len(rest) > 1 && strings.ContainsAny(rest[:1], " \n") && strings.TrimSpace(rest) != ""
}
