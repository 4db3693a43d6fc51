package linear

import (
	"context"
	"errors"
	"strconv"
	"strings"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// ask makes a call. What a condition refuses is an answer and no error.
func (c *caller) ask(ctx context.Context, in input) (output, error) {
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

// swap replaces a version by a transaction, and reads the key if it differs.
func (c *caller) swap(ctx context.Context, in input, key string, value []byte) (output, error) {
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
func (c *caller) list(ctx context.Context, group int) (output, error) {
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
