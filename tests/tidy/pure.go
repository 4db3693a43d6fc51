package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"
)

const whyPure = "this package must give the same answer on every replica (R4): time, ids and randomness come in as arguments"

// purePackages are directories whose packages, and those inside, are pure.
// Those that are not in the tree yet hold from their first file on.
func purePackages() []string {
	return []string{
		"shards/machine", "shards/mvcc",
		"shards/lock", "shards/election", "shards/queue", "shards/schedule", "shards/registry", "shards/config",
		"shards/fair", "placement/plan", "tenancy/quota", "tests/model",
	}
}

// impureAmongPure are packages for tests that live beside a pure package.
func impureAmongPure() []string { return []string{"shards/mvcc/mvcctest"} }

// forbiddenImports are packages that reach outside, with those inside them.
func forbiddenImports() []string {
	return []string{
		"crypto/rand", "math/rand", "hash/maphash", // differ from run to run
		"os", "net", "syscall", "io/ioutil", "log", "runtime", // reach outside
		"google.golang.org/protobuf/encoding/protojson", "google.golang.org/protobuf/encoding/prototext", // unstable output by design
	}
}

// forbiddenCalls are functions that read a clock or start one, and those that
// yield a map's entries in no fixed order, by package.
func forbiddenCalls() map[string][]string {
	return map[string][]string{
		"time":    {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
		"context": {"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause", "AfterFunc"},
		"maps":    {"Keys", "Values", "All"},
	}
}

// checkPure enforces the pure packages, on types and not on spelling: an alias
// of an import or a named map type does not hide anything.
func checkPure(t *Tree) ([]Finding, error) {
	var patterns []string
	for _, dir := range purePackages() {
		if _, err := os.Stat(filepath.Join(t.Root, filepath.FromSlash(dir))); err == nil {
			patterns = append(patterns, "./"+dir+"/...")
		}
	}
	if len(patterns) == 0 {
		return nil, nil
	}
	pkgs, err := packages.Load(&packages.Config{
		Dir: t.Root,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedSyntax |
			packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports,
	}, patterns...)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, pkg := range pkgs {
		dir := strings.TrimPrefix(pkg.PkgPath, t.Module+"/")
		if slices.Contains(impureAmongPure(), dir) {
			continue
		}
		if len(pkg.Errors) > 0 {
			return nil, fmt.Errorf("type-check %s: %w", dir, pkg.Errors[0])
		}
		for _, syntax := range pkg.Syntax {
			v := pureVisitor{tree: t, pkg: pkg, file: syntax, excused: excusedLines(pkg.Fset, syntax)}
			v.imports()
			ast.PreorderStack(syntax, nil, v.visit)
			findings = append(findings, v.findings...)
		}
	}
	return findings, nil
}

// excusedLines are the lines on which a map may be ranged over because a
// comment, //tidy:order and a reason, says why its order does not matter. The
// comment stands on the line or on the one before.
func excusedLines(fset *token.FileSet, file *ast.File) map[int]bool {
	lines := map[int]bool{}
	for _, group := range file.Comments {
		for _, comment := range group.List {
			reason, ok := strings.CutPrefix(comment.Text, "//tidy:order ")
			if !ok || strings.TrimSpace(reason) == "" {
				continue
			}
			line := fset.Position(comment.Pos()).Line
			lines[line], lines[line+1] = true, true
		}
	}
	return lines
}

type pureVisitor struct {
	tree     *Tree
	pkg      *packages.Package
	file     *ast.File
	excused  map[int]bool
	findings []Finding
}

func (v *pureVisitor) report(pos token.Pos, format string, args ...any) {
	at := v.pkg.Fset.Position(pos)
	rel, err := filepath.Rel(v.tree.Root, at.Filename)
	if err != nil {
		rel = at.Filename
	}
	v.findings = append(v.findings, Finding{
		Path: filepath.ToSlash(rel), Line: at.Line,
		What: "pure package " + fmt.Sprintf(format, args...), Why: whyPure,
	})
}

func (v *pureVisitor) imports() {
	for _, spec := range v.file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // it would not have compiled
		}
		if slices.ContainsFunc(forbiddenImports(), func(forbidden string) bool { return under(imported, forbidden) }) {
			v.report(spec.Pos(), "imports %s", imported)
		}
		if inner, ok := strings.CutPrefix(imported, v.tree.Module+"/"); ok && !mayPureImport(inner) {
			v.report(spec.Pos(), "imports %s, which is not pure", inner)
		}
	}
}

// mayPureImport says whether a package of this module may be imported by a
// pure one: plain data, or pure itself.
func mayPureImport(inner string) bool {
	if slices.Contains(impureAmongPure(), inner) {
		return false
	}
	pure := func(dir string) bool { return under(inner, dir) }
	return inner == "tenancy" || under(inner, "proto/gen") || slices.ContainsFunc(purePackages(), pure)
}

func (v *pureVisitor) visit(node ast.Node, stack []ast.Node) bool {
	switch node := node.(type) {
	case *ast.GoStmt:
		v.report(node.Pos(), "starts a goroutine")
	case *ast.ChanType:
		v.report(node.Pos(), "has a channel")
	case *ast.SelectStmt:
		v.report(node.Pos(), "selects between channels")
	case *ast.RangeStmt:
		v.rangeOver(node)
	case *ast.Ident:
		v.use(node, stack)
	}
	return true
}

func (v *pureVisitor) rangeOver(loop *ast.RangeStmt) {
	over := v.pkg.TypesInfo.TypeOf(loop.X)
	if over == nil || v.excused[v.pkg.Fset.Position(loop.Pos()).Line] {
		return
	}
	switch over.Underlying().(type) {
	case *types.Map:
		v.report(loop.Pos(), "ranges over a map; sort the keys, or say in //tidy:order why the order does not matter")
	case *types.Chan:
		v.report(loop.Pos(), "has a channel")
	}
}

func (v *pureVisitor) use(id *ast.Ident, stack []ast.Node) {
	fn, ok := v.pkg.TypesInfo.Uses[id].(*types.Func)
	if !ok || fn.Pkg() == nil || fn.Signature().Recv() != nil {
		return
	}
	pkg := fn.Pkg().Path()
	if !slices.Contains(forbiddenCalls()[pkg], fn.Name()) {
		return
	}
	if pkg == "maps" {
		if v.excused[v.pkg.Fset.Position(id.Pos()).Line] || v.sorted(stack) {
			return
		}
		v.report(id.Pos(), "uses maps.%s unsorted; wrap it in slices.Sorted, or say in //tidy:order why the order does not matter", fn.Name())
		return
	}
	v.report(id.Pos(), "uses %s.%s", pkg, fn.Name())
}

// sorted says whether the innermost call around a use of maps is an argument of
// one of the sorting functions of slices.
func (v *pureVisitor) sorted(stack []ast.Node) bool {
	// The stack ends with the call of maps and its selector: what counts is
	// the call outside of them.
	calls := slices.DeleteFunc(slices.Clone(stack), func(n ast.Node) bool { _, ok := n.(*ast.CallExpr); return !ok })
	if len(calls) < 2 {
		return false
	}
	outer, ok := calls[len(calls)-2].(*ast.CallExpr).Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	fn, ok := v.pkg.TypesInfo.Uses[outer.Sel].(*types.Func)
	return ok && fn.Pkg() != nil && fn.Pkg().Path() == "slices" && strings.HasPrefix(fn.Name(), "Sorted")
}
