package apierr

import (
	"errors"
	"strconv"

	"connectrpc.com/connect"
)

// matchIs matches errors that are all of the given ones; the first is told.
func matchIs(told error, others ...error) func(error) (facts, bool) {
	return func(err error) (facts, bool) {
		if !errors.Is(err, told) {
			return facts{}, false
		}
		for _, other := range others {
			if !errors.Is(err, other) {
				return facts{}, false
			}
		}
		return facts{what: told.Error()}, true
	}
}

// matchAs matches errors of a type. The facts say what the error itself says
// unless they say something else.
func matchAs[E error](of func(E) facts) func(error) (facts, bool) {
	return func(err error) (facts, bool) {
		found, ok := errors.AsType[E](err)
		if !ok {
			return facts{}, false
		}
		f := of(found)
		if f.what == "" {
			f.what = found.Error()
		}
		return f, true
	}
}

// matchCode matches errors that the RPC library made with a code.
func matchCode(code connect.Code) func(error) (facts, bool) {
	return func(err error) (facts, bool) {
		found, ok := errors.AsType[*connect.Error](err)
		if !ok || found.Code() != code {
			return facts{}, false
		}
		return facts{what: found.Message()}, true
	}
}

func sizeMetadata(limit string, value, most uint64) map[string]string {
	return map[string]string{"limit": limit, "value": formatUint(value), "max": formatUint(most)}
}

func formatUint[N ~uint64](n N) string { return strconv.FormatUint(uint64(n), 10) }
