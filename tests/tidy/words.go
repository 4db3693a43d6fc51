package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"unicode"
)

// forbiddenWords are the words of the glossary's column "not", in lower case,
// with the word to use. Words that also have an honest meaning of their own
// here are left to reviewers: host (package shards is one), server and member
// (net/http, sets), cluster (all nodes together), epoch (of a namespace's
// ownership), bucket (of tokens, of a histogram), partition (of a work group),
// offset (in a file), timestamp (the protobuf type), project (the verb).
func forbiddenWords() map[string]string {
	return map[string]string{
		"org": "tenant", "organization": "tenant", "account": "tenant",
		"database": "namespace", "keyspace": "namespace",
		"region":  "shard",
		"learner": "non-voting replica", "observer": "non-voting replica",
		"vacuum":  "compaction",
		"session": "lease",
		"script":  "procedure",
		"dlq":     "dead letter", "subscription": "watch", "subscriber": "watch",
		"migration": "move", "scheduler": "placement",
	}
}

// checkWords looks for the words in the names that a package exports. Names in
// generated code come from the API's messages, so they count too.
func checkWords(t *Tree) ([]Finding, error) {
	var findings []Finding
	for _, f := range t.GoFiles() {
		if f.IsTest() {
			continue
		}
		for _, id := range exportedNames(f.Syntax) {
			for _, word := range splitName(id.Name) {
				use, ok := forbiddenWords()[word]
				if !ok {
					continue
				}
				findings = append(findings, Finding{
					Path: f.Path, Line: t.line(id.Pos()),
					What: fmt.Sprintf("%s says %q where the word is %q", id.Name, word, use),
					Why:  "one thing has one word in this project, see the glossary in ARCHITECTURE.md",
				})
			}
		}
	}
	return findings, nil
}

// exportedNames returns the exported names that a file declares: at the top
// level, as methods, and as fields and methods inside types.
func exportedNames(file *ast.File) []*ast.Ident {
	var names []*ast.Ident
	add := func(ids ...*ast.Ident) {
		for _, id := range ids {
			if id.IsExported() {
				names = append(names, id)
			}
		}
	}
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			add(decl.Name)
		case *ast.GenDecl:
			if decl.Tok == token.IMPORT {
				continue
			}
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					add(spec.Names...)
				case *ast.TypeSpec:
					add(spec.Name)
					ast.Inspect(spec.Type, func(n ast.Node) bool {
						if field, ok := n.(*ast.Field); ok {
							add(field.Names...)
						}
						return true
					})
				}
			}
		}
	}
	return names
}

// splitName splits a Go name into its words, in lower case: DLQDepthMax is dlq,
// depth, max.
func splitName(name string) []string {
	var words []string
	runes := []rune(name)
	start := 0
	for i := 1; i <= len(runes); i++ {
		if i < len(runes) && !startsWord(runes, i) {
			continue
		}
		words = append(words, strings.ToLower(strings.Trim(string(runes[start:i]), "_")))
		start = i
	}
	return slices.DeleteFunc(words, func(word string) bool { return word == "" })
}

// startsWord says whether a word begins at runes[i]: at an upper-case letter
// after another kind of letter, or at the last of several before a lower-case
// one.
func startsWord(runes []rune, i int) bool {
	switch {
	case runes[i-1] == '_':
		return true
	case !unicode.IsUpper(runes[i]):
		return false
	case !unicode.IsUpper(runes[i-1]):
		return true
	}
	return i+1 < len(runes) && unicode.IsLower(runes[i+1])
}
