package linear

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"connectrpc.com/connect"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// sdk asks through the Go client, which tries again by itself what it may.
type sdk struct{ kv *flotilla.KV }

// ask implements port.
func (c sdk) ask(ctx context.Context, in input) (output, error) {
	key, value := keyName(in.group, in.key), []byte(strconv.Itoa(in.value))
	switch in.kind {
	case get:
		kv, err := c.kv.Get(ctx, key, nil)
		if errors.Is(err, flotilla.ErrKeyNotFound) {
			return output{}, nil
		}
		if err != nil {
			return output{}, err
		}
		return found(in, kv)
	case list:
		return c.list(ctx, in.group)
	case count:
		n, err := c.kv.Count(ctx, flotilla.Prefix(groupPrefix(in.group)), nil)
		return output{count: int(n)}, err
	case put:
		result, err := c.kv.Put(ctx, key, value, nil)
		if err != nil {
			return output{}, err
		}
		return output{revision: result.Revision}, nil
	case putBoth:
		result, err := c.kv.Txn(ctx, flotilla.Txn{Then: []flotilla.Op{
			flotilla.OpPut(key, value, nil), flotilla.OpPut(keyName(in.group, in.other), value, nil),
		}})
		if err != nil {
			return output{}, err
		}
		return output{revision: result.Revision}, nil
	case remove:
		result, err := c.kv.Delete(ctx, key, nil)
		if err != nil {
			return output{}, err
		}
		return output{revision: result.Revision, count: int(result.Deleted)}, nil
	case replace:
		result, err := c.kv.Put(ctx, key, value, &flotilla.PutOptions{IfRevision: in.expected})
		if errors.Is(err, flotilla.ErrRevisionMismatch) && !flotilla.OutcomeUnknown(err) {
			return output{}, nil
		}
		if err != nil {
			return output{}, err
		}
		return output{done: true, revision: result.Revision}, nil
	default:
		return c.swap(ctx, in, key, value)
	}
}

// unknown implements port.
func (sdk) unknown(err error) bool { return flotilla.OutcomeUnknown(err) }

// outage implements port.
func (sdk) outage(err error) bool {
	var answered *flotilla.Error
	if !errors.As(err, &answered) {
		return false
	}
	switch answered.Code {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeUnknown:
		return true
	default:
		return false
	}
}

// swap replaces a version by a transaction, and reads the key if it differs.
func (c sdk) swap(ctx context.Context, in input, key string, value []byte) (output, error) {
	result, err := c.kv.Txn(ctx, flotilla.Txn{
		If:   []flotilla.Condition{flotilla.IfModRevision(key, flotilla.Equal, in.expected)},
		Then: []flotilla.Op{flotilla.OpPut(key, value, nil)},
		Else: []flotilla.Op{flotilla.OpGet(key)},
	})
	switch {
	case err != nil:
		return output{}, err
	case result.Succeeded:
		return output{done: true, revision: result.Revision}, nil
	default:
		return found(in, result.Results[0].KV)
	}
}

// list reads the keys of a group.
func (c sdk) list(ctx context.Context, group int) (output, error) {
	var out output
	prefix := groupPrefix(group)
	for kv, err := range c.kv.Range(ctx, flotilla.Prefix(prefix), nil) {
		if err != nil {
			return output{}, err
		}
		key, err := strconv.Atoi(strings.TrimPrefix(kv.Key, prefix))
		if err != nil {
			return output{}, err
		}
		if out.found[key], err = versionOf(kv); err != nil {
			return output{}, err
		}
	}
	return out, nil
}

func found(in input, kv *flotilla.KeyValue) (out output, err error) {
	out.found[in.key], err = versionOf(kv)
	return out, err
}

// versionOf is a key as the model knows it.
func versionOf(kv *flotilla.KeyValue) (version, error) {
	if kv == nil {
		return version{}, nil
	}
	value, err := strconv.Atoi(string(kv.Value))
	return version{value: value, count: kv.Version, revision: kv.ModRevision}, err
}
