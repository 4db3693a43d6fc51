package tidy

import (
	"cmp"
	"fmt"
	"slices"
)

// Check is one rule of the repository.
type Check struct {
	// Name is also the name of the archive in testdata that breaks the rule.
	Name string
	// Run returns every place that breaks the rule. Its error says that the
	// rule could not be checked.
	Run func(*Tree) ([]Finding, error)
}

// Finding is one place that breaks a rule.
type Finding struct {
	// Path is relative to the root of the tree, with forward slashes.
	Path string
	// Line counts from 1; 0 is the file as a whole.
	Line int
	// What says what is wrong.
	What string
	// Why is the reason of the rule.
	Why string
}

// Place is the finding without its reason.
func (f Finding) Place() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.Path, f.What)
	}
	return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.What)
}

// String is the finding with its reason.
func (f Finding) String() string { return f.Place() + ". Why: " + f.Why }

// Checks returns all rules.
func Checks() []Check {
	return []Check{
		{Name: "imports", Run: checkImports},
		{Name: "gomod", Run: checkGoMod},
		{Name: "pure", Run: checkPure},
		{Name: "package_docs", Run: checkPackageDocs},
		{Name: "words", Run: checkWords},
		{Name: "markers", Run: checkMarkers},
		{Name: "file_length", Run: checkFileLength},
		{Name: "orphan_testdata", Run: checkOrphanTestdata},
		{Name: "changelog", Run: checkChangelog},
		{Name: "test_command", Run: checkTestCommand},
		{Name: "strays", Run: checkStrays},
		{Name: "generated", Run: checkGenerated},
	}
}

func sortFindings(findings []Finding) {
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.What, b.What))
	})
}
