package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

const (
	counters = 2
	lists    = 2
	// valueBytesMax is the size of most values; a few are larger, so that
	// crashes meet flushes too.
	valueBytesMax      = 512
	largeValueBytesMax = 256 << 10
)

// writers write until they are told to stop.
type writers struct {
	ledger *ledger
	stop   chan struct{} // closed to begin no more writes
	done   sync.WaitGroup

	mu  sync.Mutex
	err error // what no crash explains
}

// startWriters starts the writers of one round. Each writes one after the other
// and tries again as the client does by itself.
func startWriters(ctx context.Context, kvs []*flotilla.KV, l *ledger, round int, seed uint64) *writers {
	w := &writers{ledger: l, stop: make(chan struct{})}
	for id, kv := range kvs {
		random := rand.New(rand.NewPCG(seed, uint64(round)<<16|uint64(id)))
		name := fmt.Sprintf("%d-%d", round, id)
		one := w.putUnique
		switch id % 4 {
		case 2:
			one = w.count
		case 3:
			one = w.append
		}
		w.done.Go(func() { w.run(ctx, kv, random, name, one) })
	}
	return w
}

// finish lets the writes that were begun end, and waits for it.
func (w *writers) finish() error {
	close(w.stop)
	w.done.Wait()
	return w.err
}

// write makes one write, the n-th of the writer of this name.
type write func(ctx context.Context, kv *flotilla.KV, random *rand.Rand, name string, n int) error

func (w *writers) run(ctx context.Context, kv *flotilla.KV, random *rand.Rand, name string, one write) {
	for n := 0; ; n++ {
		select {
		case <-w.stop:
			return
		default:
		}
		// Some writers give up soon: their writes may have happened or not.
		patience := 20 * time.Second
		if random.IntN(20) == 0 {
			patience = time.Duration(random.Int64N(int64(20 * time.Millisecond)))
		}
		timed, cancel := context.WithTimeout(ctx, patience)
		err := one(timed, kv, random, name, n)
		cancel()
		if err != nil {
			w.mu.Lock()
			w.err = errors.Join(w.err, err)
			w.mu.Unlock()
			return
		}
	}
}

// putUnique writes a key that nobody else writes.
func (w *writers) putUnique(ctx context.Context, kv *flotilla.KV, random *rand.Rand, name string, n int) error {
	key := fmt.Sprintf("unique/%s-%d", name, n)
	size := random.IntN(valueBytesMax)
	if random.IntN(200) == 0 {
		size = random.IntN(largeValueBytesMax)
	}
	e := entry{value: strings.Repeat(name+"|", size/len(name)+1)}
	begun := time.Now()
	result, err := kv.Put(ctx, key, []byte(e.value), nil)
	if e.outcome, err = outcomeOf(err); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	if e.outcome == acknowledged {
		e.revision = result.Revision
	}
	w.ledger.put(key, e, begun)
	return nil
}

// count adds one to a counter by compare-and-set.
func (w *writers) count(ctx context.Context, kv *flotilla.KV, random *rand.Rand, _ string, _ int) error {
	counter := "counter/" + strconv.Itoa(random.IntN(counters))
	present, err := read(ctx, kv, counter)
	if present == nil {
		return err
	}
	value := 0
	if present.ModRevision != 0 {
		if value, err = strconv.Atoi(string(present.Value)); err != nil {
			return err
		}
	}
	opts := &flotilla.PutOptions{IfRevision: present.ModRevision, IfAbsent: present.ModRevision == 0}
	result, err := kv.Put(ctx, counter, []byte(strconv.Itoa(value+1)), opts)
	if !flotilla.OutcomeUnknown(err) && (errors.Is(err, flotilla.ErrRevisionMismatch) || errors.Is(err, flotilla.ErrKeyExists)) {
		w.ledger.add(counter, refused, 0)
		return nil
	}
	o, err := outcomeOf(err)
	if err != nil {
		return fmt.Errorf("add to %s: %w", counter, err)
	}
	if o == acknowledged {
		w.ledger.add(counter, o, result.Revision)
		return nil
	}
	w.ledger.add(counter, o, 0)
	return nil
}

// append adds an item to a list in a transaction.
func (w *writers) append(ctx context.Context, kv *flotilla.KV, random *rand.Rand, name string, n int) error {
	list := "list/" + strconv.Itoa(random.IntN(lists))
	item := fmt.Sprintf("%s-%d,", name, n)
	present, err := read(ctx, kv, list)
	if present == nil {
		return err
	}
	result, err := kv.Txn(ctx, flotilla.Txn{
		If:   []flotilla.Condition{flotilla.IfModRevision(list, flotilla.Equal, present.ModRevision)},
		Then: []flotilla.Op{flotilla.OpPut(list, append(present.Value, item...), nil)},
		Else: []flotilla.Op{flotilla.OpGet(list)},
	})
	o, err := outcomeOf(err)
	if err != nil {
		return fmt.Errorf("append to %s: %w", list, err)
	}
	var revision uint64
	if o == acknowledged {
		revision = result.Revision
		if !result.Succeeded {
			o = refused
		}
	}
	w.ledger.append(list, item, o, revision)
	return nil
}

// read reads a key; one that does not exist is empty. It returns nil if the
// crash kept it from reading.
func read(ctx context.Context, kv *flotilla.KV, key string) (*flotilla.KeyValue, error) {
	present, err := kv.Get(ctx, key, nil)
	if errors.Is(err, flotilla.ErrKeyNotFound) {
		return &flotilla.KeyValue{Key: key}, nil
	}
	if _, err := outcomeOf(err); err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return present, nil
}
