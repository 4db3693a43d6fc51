package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// row is how one kind of error travels.
type row struct {
	kind internalv1.PeerErrorKind
	// encode tells whether the error is of this kind, and puts its facts into the
	// message.
	encode func(err error, into *internalv1.PeerError) bool
	// decode makes the error again.
	decode func(from *internalv1.PeerError) error
}

// table is walked from the top by those who send an error; the first match
// counts. What wraps an error does not travel: it is said in the text, for logs.
//
//nolint:gochecknoglobals // a table that nothing changes
var table = []row{
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_KEY_NOT_FOUND, mvcc.ErrKeyNotFound),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_KEY_EXISTS, mvcc.ErrKeyExists),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_LEASE_NOT_FOUND, mvcc.ErrLeaseNotFound),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_LEASE_EXISTS, mvcc.ErrLeaseExists),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_FENCING_TOKEN_STALE, mvcc.ErrFencingTokenStale),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_REVISION_MISMATCH,
		func(e *mvcc.RevisionMismatchError, p *internalv1.PeerError) { p.Value = uint64(e.Actual) },
		func(p *internalv1.PeerError) error {
			return &mvcc.RevisionMismatchError{Actual: mvcc.Revision(p.GetValue())}
		}),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_COMPACTED,
		func(e *mvcc.CompactedError, p *internalv1.PeerError) { p.Value = uint64(e.CompactRevision) },
		func(p *internalv1.PeerError) error {
			return &mvcc.CompactedError{CompactRevision: mvcc.Revision(p.GetValue())}
		}),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_FUTURE_REVISION,
		func(e *mvcc.FutureRevisionError, p *internalv1.PeerError) { p.Value = uint64(e.Revision) },
		func(p *internalv1.PeerError) error {
			return &mvcc.FutureRevisionError{Revision: mvcc.Revision(p.GetValue())}
		}),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_INVALID,
		func(e *mvcc.InvalidError, p *internalv1.PeerError) { p.Name, p.Text = e.Field, e.Message },
		func(p *internalv1.PeerError) error {
			return &mvcc.InvalidError{Field: p.GetName(), Message: p.GetText()}
		}),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_TOO_LARGE,
		func(e *mvcc.TooLargeError, p *internalv1.PeerError) { p.Name, p.Value, p.Max = e.Limit, e.Value, e.Max },
		func(p *internalv1.PeerError) error {
			return &mvcc.TooLargeError{Limit: p.GetName(), Value: p.GetValue(), Max: p.GetMax()}
		}),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_TENANT_TOO_LARGE,
		func(e *tenancy.TooLargeError, p *internalv1.PeerError) {
			p.Name, p.Value, p.Max = e.Limit, e.Value, e.Max
		},
		func(p *internalv1.PeerError) error {
			return &tenancy.TooLargeError{Limit: p.GetName(), Value: p.GetValue(), Max: p.GetMax()}
		}),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_DUPLICATE_KEY,
		func(*mvcc.DuplicateKeyError, *internalv1.PeerError) {},
		func(*internalv1.PeerError) error { return &mvcc.DuplicateKeyError{} }),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_WATCH_NOT_FOUND, watch.ErrWatchNotFound),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_WATCH_ID_IN_USE, watch.ErrWatchIDInUse),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_STALLED, watch.ErrStalled),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_ALREADY_APPLIED,
		func(e *machine.AlreadyAppliedError, p *internalv1.PeerError) { p.Value = uint64(e.Revision) },
		func(p *internalv1.PeerError) error {
			return &machine.AlreadyAppliedError{Revision: mvcc.Revision(p.GetValue())}
		}),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_WRONG_EPOCH,
		func(e *machine.WrongEpochError, p *internalv1.PeerError) { p.Value = e.Epoch },
		func(p *internalv1.PeerError) error { return &machine.WrongEpochError{Epoch: p.GetValue()} }),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_QUOTA,
		func(e *tenancy.QuotaError, p *internalv1.PeerError) {
			p.Name, p.Value, p.RetryAfterUs = e.Limit, e.Value, microseconds(e.RetryAfter)
		},
		func(p *internalv1.PeerError) error {
			return &tenancy.QuotaError{Limit: p.GetName(), Value: p.GetValue(), RetryAfter: duration(p.GetRetryAfterUs())}
		}),
	{
		kind: internalv1.PeerErrorKind_PEER_ERROR_KIND_OUTCOME_UNKNOWN_IN_TIME,
		encode: func(err error, _ *internalv1.PeerError) bool {
			return errors.Is(err, shards.ErrOutcomeUnknown) && errors.Is(err, context.DeadlineExceeded)
		},
		decode: func(*internalv1.PeerError) error {
			return fmt.Errorf("%w: %w", shards.ErrOutcomeUnknown, context.DeadlineExceeded)
		},
	},
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_OUTCOME_UNKNOWN, shards.ErrOutcomeUnknown),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_BUSY,
		func(e *shards.BusyError, p *internalv1.PeerError) {
			p.ShardId, p.Name, p.RetryAfterUs = uint64(e.Shard), e.Queue, microseconds(e.RetryAfter)
		},
		func(p *internalv1.PeerError) error {
			return &shards.BusyError{Shard: shards.ShardID(p.GetShardId()), Queue: p.GetName(), RetryAfter: duration(p.GetRetryAfterUs())}
		}),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_NOT_LEADER,
		func(e *shards.NotLeaderError, p *internalv1.PeerError) {
			p.ShardId, p.Value, p.NodeId = uint64(e.Shard), e.Leader, e.Node
		},
		func(p *internalv1.PeerError) error {
			return &shards.NotLeaderError{Shard: shards.ShardID(p.GetShardId()), Leader: p.GetValue(), Node: p.GetNodeId()}
		}),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_SHARD_NOT_FOUND, shards.ErrShardNotFound),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_STOPPING, shards.ErrStopping),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_DISK_FULL, shards.ErrDiskFull),
	typed(internalv1.PeerErrorKind_PEER_ERROR_KIND_LEVEL,
		func(e *shards.LevelError, p *internalv1.PeerError) { p.Value, p.Max = uint64(e.Needs), uint64(e.Has) },
		func(p *internalv1.PeerError) error {
			return &shards.LevelError{Needs: uint32(p.GetValue()), Has: uint32(p.GetMax())}
		}),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_NAMESPACE_NOT_FOUND, tenancy.ErrNamespaceNotFound),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_DEADLINE_EXCEEDED, context.DeadlineExceeded),
	condition(internalv1.PeerErrorKind_PEER_ERROR_KIND_CANCELED, context.Canceled),
}

// condition is the row of an error that has no facts.
func condition(kind internalv1.PeerErrorKind, sentinel error) row {
	return row{
		kind:   kind,
		encode: func(err error, _ *internalv1.PeerError) bool { return errors.Is(err, sentinel) },
		decode: func(*internalv1.PeerError) error { return sentinel },
	}
}

// typed is the row of an error that has facts.
func typed[E error](kind internalv1.PeerErrorKind, put func(E, *internalv1.PeerError), get func(*internalv1.PeerError) error) row {
	return row{
		kind: kind,
		encode: func(err error, into *internalv1.PeerError) bool {
			found, ok := errors.AsType[E](err)
			if ok {
				put(found, into)
			}
			return ok
		},
		decode: get,
	}
}

// textBytesMax bounds the text of an error that is not in the table.
const textBytesMax = 1024

// encodeError is an error as it travels. Texts become valid UTF-8, which messages
// insist on.
func encodeError(err error) *internalv1.PeerError {
	p := &internalv1.PeerError{}
	for i := range table {
		if table[i].encode(err, p) {
			p.Kind = table[i].kind
			p.Text, p.Name = strings.ToValidUTF8(p.GetText(), "\uFFFD"), strings.ToValidUTF8(p.GetName(), "\uFFFD")
			return p
		}
	}
	text := err.Error()
	p.Text = strings.ToValidUTF8(text[:min(len(text), textBytesMax)], "\uFFFD")
	return p
}

// decodeError makes an error again. One of a kind that is not known, and one that
// was not in the table, is a fault of the node that it came from.
func decodeError(node string, p *internalv1.PeerError) error {
	for i := range table {
		if table[i].kind == p.GetKind() {
			return table[i].decode(p)
		}
	}
	return fmt.Errorf("node %s failed, kind %d: %s", node, p.GetKind(), p.GetText())
}

func microseconds(d time.Duration) uint64 { return uint64(max(0, d.Microseconds())) }

// retryAfterMax bounds what another node may say.
const retryAfterMax = time.Hour

func duration(us uint64) time.Duration {
	return time.Duration(min(us, uint64(retryAfterMax.Microseconds()))) * time.Microsecond
}
