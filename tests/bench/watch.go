package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// watchesPerStream is how many watches share a stream, as in etcd's own
	// benchmark.
	watchesPerStream = 100
	// watchWriters is how many callers write what the watches show.
	watchWriters = 64
	// watchedPrefix is what all watches of a fan-out watch.
	watchedPrefix = "watched/"
	// watchTimeout is how long a round of events may take.
	watchTimeout = 2 * time.Minute
)

// watchSide is a server whose etcd API is watched.
type watchSide struct {
	*side
	client   *clientv3.Client
	watchers []clientv3.Watcher // a stream each
}

// openWatchSide connects to a side's etcd API, whatever its other clients use.
func openWatchSide(s *side) (*watchSide, error) {
	t, err := connectEtcd(s.etcdAddress)
	if err != nil {
		return nil, err
	}
	return &watchSide{side: s, client: t.client}, nil
}

func (w *watchSide) close() {
	for _, watcher := range w.watchers {
		_ = watcher.Close() // of no interest: so does its connection
	}
	_ = w.client.Close()
}

// watch begins n watches and waits until the server says of each that it has.
func (w *watchSide) watch(ctx context.Context, n int, key func(i int) (string, []clientv3.OpOption)) ([]clientv3.WatchChan, error) {
	channels := make([]clientv3.WatchChan, n)
	for i := range n {
		if i%watchesPerStream == 0 {
			w.watchers = append(w.watchers, clientv3.NewWatcher(w.client))
		}
		name, opts := key(i)
		channels[i] = w.watchers[len(w.watchers)-1].Watch(ctx, name, append(opts, clientv3.WithCreatedNotify())...)
	}
	for i, channel := range channels {
		select {
		case r := <-channel:
			if !r.Created {
				return nil, fmt.Errorf("watch %d of %s: %w", i, w.name, r.Err())
			}
		case <-time.After(watchTimeout):
			return nil, fmt.Errorf("watch %d of %s was not created", i, w.name)
		}
	}
	return channels, nil
}

// fanOut has watches of one prefix that all see every write.
type fanOut struct {
	*watchSide
	events int

	received sync.WaitGroup
	rounds   chan struct{} // a token for each watch of a round
	failed   chan error
}

// newFanOut begins n watches, each read by a goroutine that counts.
func newFanOut(ctx context.Context, s *side, n, events int) (*fanOut, error) {
	w, err := openWatchSide(s)
	if err != nil {
		return nil, err
	}
	channels, err := w.watch(ctx, n, func(int) (string, []clientv3.OpOption) {
		return watchedPrefix, []clientv3.OpOption{clientv3.WithPrefix()}
	})
	if err != nil {
		w.close()
		return nil, err
	}
	f := &fanOut{watchSide: w, events: events, rounds: make(chan struct{}, n), failed: make(chan error, n)}
	for _, channel := range channels {
		f.received.Go(func() { f.count(channel) })
	}
	return f, nil
}

// count tells when a watch has seen all events of a round.
func (f *fanOut) count(channel clientv3.WatchChan) {
	seen := 0
	for r := range channel {
		if err := r.Err(); err != nil {
			f.failed <- err
			return
		}
		seen += len(r.Events)
		for ; seen >= f.events; seen -= f.events {
			f.rounds <- struct{}{}
		}
	}
}

// round writes the events of a round and waits until every watch saw them all.
func (f *fanOut) round(ctx context.Context, d data, watches int) (watchSlice, error) {
	var r watchSlice
	before, err := f.server.usage()
	if err != nil {
		return r, err
	}
	clientBefore, err := ownCPU()
	if err != nil {
		return r, err
	}
	begin := time.Now()
	err = inParallel(ctx, watchWriters, f.events, func(ctx context.Context, i int) error {
		_, err := f.client.Put(ctx, watchedPrefix+keyName(i%d.keys), string(d.pool[:d.valueBytes]))
		return err
	})
	if err != nil {
		return r, err
	}
	for range watches {
		select {
		case <-f.rounds:
		case err := <-f.failed:
			return r, fmt.Errorf("watch of %s: %w", f.name, err)
		case <-time.After(watchTimeout):
			return r, fmt.Errorf("%s has not shown all events after %s", f.name, watchTimeout)
		}
	}
	r.elapsed = time.Since(begin)
	clientAfter, err := ownCPU()
	if err != nil {
		return r, err
	}
	after, err := f.server.usage()
	if err != nil {
		return r, err
	}
	r.serverCPU, r.clientCPU, r.memory = after.CPU-before.CPU, clientAfter-clientBefore, after.memory
	return r, nil
}

func (f *fanOut) end() {
	f.close()
	f.received.Wait()
}

// watchSlice is what one round of one server took.
type watchSlice struct {
	elapsed, serverCPU, clientCPU time.Duration
	memory                        memory
}

// watchResult is what all rounds of one server took.
type watchResult struct {
	// EventsPerSecond counts an event once for each watch that saw it.
	EventsPerSecond float64 `json:"events_per_second"`
	ServerCPU       float64 `json:"server_cpu_cores"`
	ClientCPU       float64 `json:"client_cpu_cores"`
	Memory          memory  `json:"memory"`
}

// watchRow compares a number of watches.
type watchRow struct {
	Watches int `json:"watches"`
	Events  int `json:"events"`
	both[watchResult]
}

// measureFanOut measures how fast events reach many watches of one prefix.
func (b *bench) measureFanOut(ctx context.Context, sides both[*side], d data) error {
	n := b.opts.watches
	var fans both[*fanOut]
	for i, s := range sides.list() {
		fan, err := newFanOut(ctx, s, n, b.opts.watchEvents)
		if err != nil {
			return err
		}
		defer fan.end()
		*fans.at(i) = fan
		if _, err := fan.round(ctx, d, n); err != nil { // warm-up
			return err
		}
	}
	var total both[watchSlice]
	for range b.opts.rounds {
		for i, fan := range fans.list() {
			if err := rest(ctx, b.opts.pause); err != nil {
				return err
			}
			r, err := fan.round(ctx, d, n)
			if err != nil {
				return err
			}
			sum := total.at(i)
			sum.elapsed += r.elapsed
			sum.serverCPU += r.serverCPU
			sum.clientCPU += r.clientCPU
			sum.memory = r.memory
		}
	}
	row := watchRow{Watches: n, Events: b.opts.watchEvents}
	for i, sum := range total.list() {
		*row.at(i) = watchResult{
			EventsPerSecond: perSecond(n*b.opts.watchEvents*b.opts.rounds, sum.elapsed),
			ServerCPU:       sum.serverCPU.Seconds() / sum.elapsed.Seconds(),
			ClientCPU:       sum.clientCPU.Seconds() / sum.elapsed.Seconds(),
			Memory:          sum.memory,
		}
	}
	b.report.Watch = &row
	b.progress.say("%d watches: flotilla %s events/s, etcd %s events/s", n,
		thousands(row.Flotilla.EventsPerSecond), thousands(row.Etcd.EventsPerSecond))
	return nil
}

// measureIdleWatches notes what many watches of quiet keys take.
func (b *bench) measureIdleWatches(ctx context.Context, sides both[*side]) error {
	if err := b.noteMemory("before the idle watches", sides); err != nil {
		return err
	}
	for _, s := range sides.list() {
		w, err := openWatchSide(s)
		if err != nil {
			return err
		}
		defer w.close()
		_, err = w.watch(ctx, b.opts.idleWatches, func(i int) (string, []clientv3.OpOption) {
			return "quiet/" + keyName(i), nil
		})
		if err != nil {
			return err
		}
	}
	return b.noteMemory(fmt.Sprintf("with %s idle watches", thousands(float64(b.opts.idleWatches))), sides)
}

func watchTable(row watchRow) table {
	var t table
	t.row("watches", "flotilla events/s", "CPU", "RSS", "etcd events/s", "CPU", "RSS", "flotilla/etcd")
	cells := []string{thousands(float64(row.Watches))}
	for _, s := range row.list() {
		cells = append(cells, thousands(s.EventsPerSecond),
			fmt.Sprintf("%.0f+%.0f", 100*s.ServerCPU, 100*s.ClientCPU), megabytes(s.Memory.RSS))
	}
	t.row(append(cells, ratio(row.Flotilla.EventsPerSecond, row.Etcd.EventsPerSecond))...)
	return t
}
