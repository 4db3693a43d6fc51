package tidy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// rooms in the order of the law: a room may import those before it.
func rooms() []string {
	return []string{"proto/gen", "tenancy", "shards", "placement", "gateway", "ops"}
}

const (
	sdkRoom   = "sdk/go"
	testsRoom = "tests"
	opsRoom   = "ops"
)

// library is a third-party library that few packages may import.
type library struct {
	name    string
	imports func(path string) bool
	allowed func(dir string) bool
	why     string
}

func libraries() []library {
	return []library{
		{
			name: "Pebble",
			imports: func(path string) bool {
				return under(path, "github.com/cockroachdb/pebble")
			},
			allowed: func(dir string) bool { return under(dir, "shards/store") },
			why:     "only shards/store knows how rows are kept, so that the storage engine can be changed in one place",
		},
		{
			name:    "dragonboat",
			imports: func(path string) bool { return under(path, "github.com/lni/dragonboat") },
			allowed: func(dir string) bool {
				return dir == "shards" || dir == "shards/replica" || dir == "shards/transport" || dir == "shards/shardstest"
			},
			why: "dragonboat has one maintainer: it stays behind shards, with the replica that it drives and the transport that it speaks through, so that it can be replaced",
		},
	}
}

// checkImports enforces the import law of ARCHITECTURE.md.
func checkImports(t *Tree) ([]Finding, error) {
	var findings []Finding
	for _, f := range t.GoFiles() {
		if f.Generated {
			continue
		}
		if roomOf(f.Dir()) == "" {
			findings = append(findings, Finding{
				Path: f.Path, What: "is in none of the rooms",
				Why: "every package has its place in the import law, see ARCHITECTURE.md",
			})
			continue
		}
		for _, spec := range f.Syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return nil, err
			}
			for _, problem := range importProblems(t.Module, f, imported) {
				problem.Path, problem.Line = f.Path, t.line(spec.Pos())
				findings = append(findings, problem)
			}
		}
	}
	return findings, nil
}

func importProblems(module string, f *File, imported string) []Finding {
	if roomOf(f.Dir()) == testsRoom {
		return nil // tests may import anything
	}
	if inner, ok := strings.CutPrefix(imported, module+"/"); ok {
		if why := lawBroken(f.Dir(), inner); why != "" {
			return []Finding{{What: fmt.Sprintf("%s imports %s", f.Dir(), inner), Why: why}}
		}
		return nil
	}
	var findings []Finding
	for _, lib := range libraries() {
		if lib.imports(imported) && !lib.allowed(f.Dir()) {
			findings = append(findings, Finding{What: fmt.Sprintf("%s imports %s (%s)", f.Dir(), lib.name, imported), Why: lib.why})
		}
	}
	// Fields of the messages in proto/gen have the well-known types.
	free := isStandard(imported) || under(imported, "connectrpc.com/connect") ||
		under(imported, "google.golang.org/protobuf/types/known")
	if roomOf(f.Dir()) == sdkRoom && !f.IsTest() && !free {
		findings = append(findings, Finding{
			What: fmt.Sprintf("%s imports %s", f.Dir(), imported),
			Why:  "sdk/go needs proto/gen, connect and the standard library only, so that users get few dependencies with it",
		})
	}
	return findings
}

// lawBroken returns why a package in dir may not import the package in inner,
// both relative to the module; empty when it may.
func lawBroken(dir, inner string) string {
	from, to := roomOf(dir), roomOf(inner)
	switch {
	case from == to:
		return ""
	case to == "":
		return "every package has its place in the import law, see ARCHITECTURE.md"
	case to == testsRoom:
		return "nobody imports tests: what the product needs does not live among its tests"
	case to == opsRoom:
		return "nobody imports ops: it wires the other rooms together and knows them all"
	case to == sdkRoom:
		if from == opsRoom {
			return ""
		}
		return "sdk/go is for users; inside the platform only ops, whose commands are a client, may import it"
	case from == sdkRoom:
		if to == "proto/gen" {
			return ""
		}
		return "sdk/go needs proto/gen, connect and the standard library only, so that users get few dependencies with it"
	case slices.Index(rooms(), to) > slices.Index(rooms(), from):
		return "imports point one way: " + strings.Join(rooms(), " <- ")
	}
	return ""
}

// roomOf returns the room that a directory belongs to, or "".
func roomOf(dir string) string {
	for _, room := range append(rooms(), sdkRoom, testsRoom) {
		if under(dir, room) {
			return room
		}
	}
	return ""
}

// isStandard says whether an import path is of the standard library: its first
// element has no dot.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// checkGoMod keeps the first Pebble out of the direct requirements.
func checkGoMod(t *Tree) ([]Finding, error) {
	var findings []Finding
	for _, r := range t.Mod.Require {
		if r.Mod.Path != "github.com/cockroachdb/pebble" {
			continue
		}
		if r.Indirect && !strings.HasPrefix(r.Mod.Version, "v1.") {
			continue
		}
		findings = append(findings, Finding{
			Path: "go.mod", Line: r.Syntax.Start.Line,
			What: "requires " + r.Mod.String() + " directly or as v1",
			Why:  "dragonboat pins an untagged Pebble of 2022 under this path and does not build with v1; our state uses pebble/v2",
		})
	}
	return findings, nil
}
