package cli

import (
	"errors"
	"strings"

	"connectrpc.com/connect"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// usageError is a command line that cannot be done as it is.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// The exit codes.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitNotFound
	exitNotAllowed
	exitTryAgain
)

// exitCode tells a script what kind of failure it was.
func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "unknown command"),
		strings.HasPrefix(err.Error(), "if any flags in the group"): // cobra has no types for these
		return exitUsage
	}
	switch code, _ := codeOf(err); code {
	case connect.CodeNotFound:
		return exitNotFound
	case connect.CodeUnauthenticated, connect.CodePermissionDenied:
		return exitNotAllowed
	case connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeDeadlineExceeded:
		return exitTryAgain
	case connect.CodeInvalidArgument:
		return exitUsage
	default:
		return exitFailed
	}
}

// codeOf is the code of an answer that is an error, to a tenant or to an operator.
func codeOf(err error) (connect.Code, bool) {
	if answered, ok := errors.AsType[*flotilla.Error](err); ok {
		return answered.Code, true
	}
	if answered, ok := errors.AsType[*connect.Error](err); ok {
		return answered.Code(), true
	}
	return 0, false
}

// describe is an error as a person reads it.
func describe(err error) string {
	text := strings.TrimPrefix(err.Error(), "flotilla: ")
	if answered, ok := errors.AsType[*connect.Error](err); ok {
		text = strings.TrimPrefix(text, answered.Code().String()+": ")
	}
	if _, answered := codeOf(err); answered && strings.Contains(text, "connection refused") {
		text += ": nobody serves there; start a node with 'flotilla dev', or name another with --api-url or --ops-url"
	}
	if flotilla.OutcomeUnknown(err) {
		text += " (the write may have been applied)"
	}
	return text
}
