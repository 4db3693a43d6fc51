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
	var answered *flotilla.Error
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "unknown command"),
		strings.HasPrefix(err.Error(), "if any flags in the group"): // cobra has no types for these
		return exitUsage
	case !errors.As(err, &answered):
		return exitFailed
	}
	switch answered.Code {
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

// describe is an error as a person reads it.
func describe(err error) string {
	text := strings.TrimPrefix(err.Error(), "flotilla: ")
	var answered *flotilla.Error
	if errors.As(err, &answered) && strings.Contains(text, "connection refused") {
		text += ": nobody serves there; start a node with 'flotilla dev', or name another with --api-url"
	}
	if flotilla.OutcomeUnknown(err) {
		text += " (the write may have been applied)"
	}
	return text
}
