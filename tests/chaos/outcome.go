package chaos

import (
	"errors"

	"connectrpc.com/connect"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// outcomeOf is what an error of a write says about it. Errors that a crash and
// the patience of a writer do not explain are returned.
func outcomeOf(err error) (outcome, error) {
	if err == nil {
		return acknowledged, nil
	}
	if flotilla.OutcomeUnknown(err) {
		return unknown, nil
	}
	var answered *flotilla.Error
	if !errors.As(err, &answered) {
		return refused, err
	}
	switch answered.Code {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled:
		return refused, nil
	default:
		return refused, err
	}
}
