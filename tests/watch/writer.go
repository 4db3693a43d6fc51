package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// writer writes at random until it is stopped, and remembers what it was told.
type writer struct {
	kv     *flotilla.KV
	random *rand.Rand
	name   int
	n      int
	writes []Write
	err    error

	acknowledged atomic.Int64 // how many writes there are, while it runs
}

// keys are few, so that writers meet.
func randomKey(random *rand.Rand) string {
	return fmt.Sprintf("%c/%d", 'a'+rune(random.IntN(3)), random.IntN(8))
}

func (w *writer) run(ctx context.Context, stop <-chan struct{}) {
	for w.err == nil {
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(w.random.IntN(4000)) * time.Microsecond):
		}
		w.n++
		var write Write
		var err error
		switch w.random.IntN(6) {
		case 0:
			write, err = w.delete(ctx)
		case 1, 2:
			write, err = w.txn(ctx)
		default:
			write, err = w.put(ctx)
		}
		switch {
		case err == nil && write.Revision != 0:
			w.writes = append(w.writes, write)
			w.acknowledged.Add(1)
		case err != nil && !explained(err):
			w.err = err
		}
	}
}

// explained tells whether a node that stopped or was not reached, or the end of the
// test, explains that a write failed: it may or may not have happened, and what
// watches show is right either way.
func explained(err error) bool {
	var e *flotilla.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled:
		return true
	default:
		return flotilla.OutcomeUnknown(err)
	}
}

func (w *writer) value() string {
	value := fmt.Sprintf("%d-%d", w.name, w.n)
	if w.random.IntN(50) == 0 {
		value += strings.Repeat("x", w.random.IntN(200<<10))
	}
	return value
}

func (w *writer) put(ctx context.Context) (Write, error) {
	key, value := randomKey(w.random), w.value()
	result, err := w.kv.Put(ctx, key, []byte(value), nil)
	if err != nil {
		return Write{}, fmt.Errorf("put: %w", err)
	}
	return Write{Revision: result.Revision, Puts: map[string]string{key: value}}, nil
}

func (w *writer) delete(ctx context.Context) (Write, error) {
	key := randomKey(w.random)
	result, err := w.kv.Delete(ctx, key, nil)
	if err != nil {
		return Write{}, fmt.Errorf("delete: %w", err)
	}
	if result.Deleted == 0 {
		return Write{}, nil
	}
	return Write{Revision: result.Revision, Deleted: []string{key}}, nil
}

// txn writes and deletes several keys in one revision.
func (w *writer) txn(ctx context.Context) (Write, error) {
	write := Write{Puts: make(map[string]string)}
	var txn flotilla.Txn
	for range 2 + w.random.IntN(4) {
		key, value := randomKey(w.random), w.value()
		if _, ok := write.Puts[key]; ok {
			continue
		}
		write.Puts[key] = value
		txn.Then = append(txn.Then, flotilla.OpPut(key, []byte(value), nil))
	}
	gone := randomKey(w.random)
	if _, ok := write.Puts[gone]; !ok {
		write.Deleted = []string{gone}
		txn.Then = append(txn.Then, flotilla.OpDelete(gone, nil))
	}
	result, err := w.kv.Txn(ctx, txn)
	if err != nil {
		return Write{}, fmt.Errorf("txn: %w", err)
	}
	write.Revision = result.Revision
	return write, nil
}
