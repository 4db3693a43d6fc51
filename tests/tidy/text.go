package tidy

import (
	"fmt"
	"regexp"
	"strings"
)

// linesMax is the most lines that a file written by hand may have.
const linesMax = 500

// checkMarkers asks for a reference behind every marker of unfinished work in
// comments and documents.
func checkMarkers(t *Tree) ([]Finding, error) {
	const words = `\b(TODO|FIXME|XXX|HACK)\b(\(#\d+\))?`
	inComment, inDocument := regexp.MustCompile(`(?://|#|\*|<!--).*?`+words), regexp.MustCompile(words)
	var findings []Finding
	for _, f := range t.Files {
		if f.InTestdata() || f.Generated || !isSource(f.Path) {
			continue
		}
		marker := inComment
		if strings.HasSuffix(f.Path, ".md") {
			marker = inDocument
		}
		for i, line := range f.lines() {
			if m := marker.FindStringSubmatch(line); m != nil && m[2] == "" {
				findings = append(findings, Finding{
					Path: f.Path, Line: i + 1, What: m[1] + " without a reference like " + m[1] + "(#12)",
					Why: "work that nobody tracks is never done: track it and name it, or finish it now",
				})
			}
		}
	}
	return findings, nil
}

// checkFileLength bounds the length of files that people write.
func checkFileLength(t *Tree) ([]Finding, error) {
	var findings []Finding
	for _, f := range t.Files {
		if f.InTestdata() || f.Generated || !isSource(f.Path) || strings.HasSuffix(f.Path, ".md") {
			continue
		}
		if n := len(f.lines()); n > linesMax {
			findings = append(findings, Finding{
				Path: f.Path, What: fmt.Sprintf("has %d lines, more than %d", n, linesMax),
				Why: "a file is read as a whole: split it by what its parts are about",
			})
		}
	}
	return findings, nil
}

// isSource says whether people write files of this name: code, messages,
// scripts and documents, but no lock files or data.
func isSource(path string) bool {
	for _, suffix := range []string{".go", ".ts", ".js", ".proto", ".md", ".sh", ".yaml", ".yml", "Makefile", ".ci/run"} {
		if strings.HasSuffix(path, suffix) {
			return true
		}
	}
	return false
}

// checkChangelog asks for the section that collects what is not released yet.
func checkChangelog(t *Tree) ([]Finding, error) {
	const name = "CHANGELOG.md"
	missing := Finding{
		Path: name, What: "has no section ## [Unreleased]",
		Why: "every change that operators or users notice is written down when it is made, not when it is released",
	}
	f := t.File(name)
	if f == nil {
		missing.What = "is missing"
		return []Finding{missing}, nil
	}
	for _, line := range f.lines() {
		if strings.TrimSpace(line) == "## [Unreleased]" {
			return nil, nil
		}
	}
	return []Finding{missing}, nil
}

// checkTestCommand compares the command that the README gives for testing with
// the one that continuous integration runs.
func checkTestCommand(t *Tree) ([]Finding, error) {
	const why = "what a newcomer is told to run and what decides about a change must be the same command"
	readme, ci := t.File("README.md"), t.File(".ci/run")
	switch {
	case readme == nil:
		return []Finding{{Path: "README.md", What: "is missing", Why: why}}, nil
	case ci == nil:
		return []Finding{{Path: ".ci/run", What: "is missing", Why: why}}, nil
	}
	told, line := readmeTestCommand(readme)
	run := ciCommand(ci)
	switch {
	case told == "":
		return []Finding{{Path: "README.md", What: "has no command in the first code block under ## Test", Why: why}}, nil
	case told != run:
		return []Finding{{
			Path: "README.md", Line: line, What: fmt.Sprintf("says %q, but .ci/run runs %q", told, run), Why: why,
		}}, nil
	}
	return nil, nil
}

// readmeTestCommand returns the first line of the first code block under the
// heading "## Test", without a comment behind it.
func readmeTestCommand(f *File) (command string, line int) {
	inSection, inBlock := false, false
	for i, text := range f.lines() {
		switch {
		case strings.HasPrefix(text, "## "):
			inSection = text == "## Test"
		case inSection && strings.HasPrefix(text, "```"):
			inBlock = !inBlock
		case inSection && inBlock:
			command, _, _ := strings.Cut(text, "#")
			return strings.TrimSpace(command), i + 1
		}
	}
	return "", 0
}

// ciCommand returns the last command of a script, without exec.
func ciCommand(f *File) string {
	command := ""
	for _, line := range f.lines() {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			command = strings.TrimPrefix(line, "exec ")
		}
	}
	return command
}
