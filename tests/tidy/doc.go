// Package tidy holds the rules of the repository that a machine can check: the
// import law, the pure packages, package comments, the words, and whether
// generated files and documents agree with their sources. Each rule is a Check
// and says in its findings why it exists; its test runs it over the tree and
// over a small tree in testdata that breaks it, so that a rule which can no
// longer fail is noticed.
//
// It owns no product code and is imported by nobody.
package tidy
