package tidy

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// topLevel is what the root of the tree holds besides files that end in .md.
func topLevel() []string {
	return []string{
		".ci", "LICENSE", "Makefile", "buf.gen.yaml", "buf.yaml", "go.mod", "go.sum",
		"docs", "gateway", "ops", "placement", "proto", "sdk", "shards", "tenancy", "tests",
	}
}

// apiKey is what an API key looks like.
var apiKey = regexp.MustCompile(`flk_[a-z2-7]{16}_[a-z2-7]{52}`)

// checkStrays finds what a program left behind: names that the root does not
// have, files that are no text, and credentials.
func checkStrays(t *Tree) ([]Finding, error) {
	var findings []Finding
	strays := make(map[string]bool)
	for _, f := range t.Files {
		first, _, nested := strings.Cut(f.Path, "/")
		switch {
		case !slices.Contains(topLevel(), first) && (nested || !strings.HasSuffix(first, ".md") && !strings.HasPrefix(first, ".")):
			if !strays[first] {
				strays[first] = true
				findings = append(findings, Finding{
					Path: first, What: "does not belong to the root of the tree",
					Why: "a program that was tried there has left it behind, or a room is missing in the list of tests/tidy/strays.go",
				})
			}
		case f.InTestdata():
		case bytes.IndexByte(f.Data, 0) >= 0:
			findings = append(findings, Finding{
				Path: f.Path, What: "is no text",
				Why: "what a tool makes is made anew, and what a test reads belongs to its testdata",
			})
		default:
			if at := apiKey.FindIndex(f.Data); at != nil && !f.IsTest() {
				findings = append(findings, Finding{
					Path: f.Path, Line: 1 + bytes.Count(f.Data[:at[0]], []byte("\n")),
					What: fmt.Sprintf("holds an API key, %s...", f.Data[at[0]:at[0]+8]),
					Why:  "a secret that is in the history once is there for good",
				})
			}
		}
	}
	return findings, nil
}
