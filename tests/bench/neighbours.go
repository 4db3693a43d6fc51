package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

const (
	// quietPerSecond is the quiet tenant's load, half of it reads.
	quietPerSecond = 100
	// floodLimit is the flooding tenant's limit; it sends ten times as much.
	floodLimit   = 2_000
	floodFactor  = 10
	floodCallers = 200
	// rangeCallers run maximal ranges over rangedKeys, without a limit of their rate.
	rangeCallers = 4
	rangedKeys   = 20_000
	// neighbourWatches are open on the ranged keys, some of which change.
	neighbourWatches = 10_000
	// neighbourSlice is about how long the quiet tenant is alone, or not, at a time.
	neighbourSlice = 5 * time.Second
)

// neighboursResult is what a quiet tenant notices of two loud ones.
type neighboursResult struct {
	Alone  quietResult `json:"alone"`
	Beside quietResult `json:"beside"`
	// Apart is while the loud ones are of another server on the same machine: what is
	// noticed then is noticed of the machine, and no server can do anything about it.
	Apart quietResult `json:"apart"`
	// Loud is what the loud ones did beside the quiet one, and LoudApart on theirs.
	Loud      loudResult `json:"loud"`
	LoudApart loudResult `json:"loud_apart"`
}

// quietResult is what the quiet tenant saw in some slices: of all its calls, and of
// reads and writes, which wait for the disk, alone. The quantiles are the medians of
// those of the slices: a machine that stands still for once spoils one slice.
type quietResult struct {
	PerSecond float64   `json:"per_second"`
	Latency   quantiles `json:"latency"`
	Reads     quantiles `json:"reads"`
	Writes    quantiles `json:"writes"`
	Failed    int       `json:"failed"`
}

// measureNeighbours measures a quiet tenant in turns alone, beside one that floods
// at ten times its limit and one that runs maximal ranges with ten thousand watches
// open, and while those are of another server.
func (b *bench) measureNeighbours(ctx context.Context) error {
	ours, err := b.startNeighbours(ctx, "neighbours")
	if err != nil {
		return err
	}
	defer ours.close()
	theirs, err := b.startNeighbours(ctx, "neighbours-apart")
	if err != nil {
		return err
	}
	defer theirs.close()
	r := &neighboursResult{}
	count := max(1, int(b.opts.neighbours/neighbourSlice))
	slice := b.opts.neighbours / time.Duration(count)
	var alone, beside, apart []quietCalls
	for i := range count {
		b.progress.say("neighbours: slice %d of %d", i+1, count)
		calls, err := ours.beQuiet(ctx, slice)
		if err != nil {
			return err
		}
		alone = append(alone, calls)
		if calls, err = ours.beQuietBeside(ctx, ours, slice, &r.Loud); err != nil {
			return err
		}
		beside = append(beside, calls)
		if calls, err = ours.beQuietBeside(ctx, theirs, slice, &r.LoudApart); err != nil {
			return err
		}
		apart = append(apart, calls)
	}
	r.Alone, r.Beside, r.Apart = resultOfQuiet(alone), resultOfQuiet(beside), resultOfQuiet(apart)
	b.report.Neighbours = r
	b.report.printNeighbours(b.out)
	return nil
}

// startNeighbours starts a server with the three tenants.
func (b *bench) startNeighbours(ctx context.Context, name string) (*neighbours, error) {
	s, err := b.makeSide(name, b.opts.flotillaPath, newFlotillaSide)
	if err != nil {
		return nil, err
	}
	if _, err := s.server.start(ctx); err != nil {
		s.close()
		return nil, err
	}
	data := filepath.Join(s.server.dir, "data")
	info, err := readDevInfo(data)
	if err != nil {
		s.close()
		return nil, err
	}
	n, err := connectNeighbours(ctx, info, data)
	if err != nil {
		s.close()
		return nil, err
	}
	n.side = s
	n.loud.APIURL, n.loud.EtcdAddress = info.APIURL, s.etcdAddress
	if err := n.preload(ctx); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// beQuietBeside makes the quiet tenant's load while the loud ones of a server make
// theirs, which is added to what they did.
func (n *neighbours) beQuietBeside(ctx context.Context, others *neighbours, during time.Duration, did *loudResult) (quietCalls, error) {
	loud, err := startLoud(ctx, others.loud)
	if err != nil {
		return quietCalls{}, err
	}
	calls, err := n.beQuiet(ctx, during)
	if err != nil {
		return calls, errors.Join(err, loud.kill())
	}
	result, err := loud.end()
	did.add(result)
	return calls, err
}

// neighbours are three tenants of one node. The loud ones are called from a process
// of their own: see loud.go.
type neighbours struct {
	side           *side
	quiet, ranging *flotilla.Client
	loud           loudConfig
}

func connectNeighbours(ctx context.Context, info devInfo, data string) (*neighbours, error) {
	operator, err := newOperator(info, data)
	if err != nil {
		return nil, err
	}
	keys, err := createTenants(ctx, operator,
		&adminv1.NewTenant{Name: "quiet", Plan: "standard"},
		&adminv1.NewTenant{Name: "flood", Plan: "standard", Limits: &flotillav1.Limits{RequestsPerSecond: floodLimit, RequestsBurst: floodLimit}},
		&adminv1.NewTenant{Name: "ranges", Plan: "unlimited"},
	)
	if err != nil {
		return nil, err
	}
	n := &neighbours{loud: loudConfig{FloodKey: keys[1], RangesKey: keys[2]}}
	if n.quiet, err = connectOnce(info.APIURL, keys[0]); err != nil {
		return nil, err
	}
	n.ranging, err = connectOnce(info.APIURL, keys[2])
	return n, err
}

// connectOnce makes a client that tries nothing again: what is refused is counted.
func connectOnce(url, key string) (*flotilla.Client, error) {
	return flotilla.New(flotilla.Config{URL: url, APIKey: key, AttemptsMax: 1})
}

func (n *neighbours) close() {
	_ = n.quiet.Close() // of no interest
	_ = n.ranging.Close()
	n.side.close()
}

func (n *neighbours) preload(ctx context.Context) error {
	kv, value := n.ranging.Namespace("default").KV, make([]byte, 256)
	return inParallel(ctx, 64, rangedKeys, func(ctx context.Context, i int) error {
		_, err := kv.Put(ctx, rangedKey(i), value, nil)
		return err
	})
}

func rangedKey(i int) string { return fmt.Sprintf("key-%06d", i) }

// quietCalls are the quiet tenant's calls of a while.
type quietCalls struct {
	reads, writes []time.Duration
	failed        int
	during        time.Duration
}

func resultOfQuiet(list []quietCalls) quietResult {
	r, during, made := quietResult{}, time.Duration(0), 0
	var all, reads, writes []quantiles
	for _, calls := range list {
		both := slices.Concat(calls.reads, calls.writes)
		all = append(all, quantilesOf(both))
		reads = append(reads, quantilesOf(calls.reads))
		writes = append(writes, quantilesOf(calls.writes))
		during += calls.during
		made += len(both)
		r.Failed += calls.failed
	}
	r.PerSecond = float64(made) / during.Seconds()
	r.Latency, r.Reads, r.Writes = medianOf(all), medianOf(reads), medianOf(writes)
	return r
}

// medianOf is the median of each quantile.
func medianOf(list []quantiles) quantiles {
	median := func(of func(quantiles) time.Duration) time.Duration {
		var times []time.Duration
		for _, q := range list {
			times = append(times, of(q))
		}
		return quantilesOf(times).P50
	}
	return quantiles{P50: median(func(q quantiles) time.Duration { return q.P50 }), P99: median(func(q quantiles) time.Duration { return q.P99 })}
}

// beQuiet makes the quiet tenant's load for a while: requests at their times, however
// long the ones before take.
func (n *neighbours) beQuiet(ctx context.Context, during time.Duration) (quietCalls, error) {
	kv, value := n.quiet.Namespace("default").KV, make([]byte, 256)
	if _, err := kv.Put(ctx, "quiet-0", value, nil); err != nil { // which connects
		return quietCalls{}, err
	}
	var mu sync.Mutex
	var done quietCalls
	var calls sync.WaitGroup
	began := time.Now()
	ticker := time.NewTicker(time.Second / quietPerSecond)
	defer ticker.Stop()
	for i := 0; time.Since(began) < during && ctx.Err() == nil; i++ {
		<-ticker.C
		calls.Go(func() {
			key := fmt.Sprintf("quiet-%d", rand.IntN(1000))
			start := time.Now()
			var err error
			times := &done.writes
			if i%2 == 0 {
				_, err = kv.Put(ctx, key, value, nil)
			} else {
				times = &done.reads
				_, err = kv.Get(ctx, key, nil)
			}
			took := time.Since(start)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && !errors.Is(err, flotilla.ErrKeyNotFound) {
				done.failed++
			}
			*times = append(*times, took)
		})
	}
	calls.Wait()
	done.during = time.Since(began)
	return done, ctx.Err()
}
