package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

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
)

// neighboursResult is what a quiet tenant notices of two loud ones.
type neighboursResult struct {
	Alone  quietResult `json:"alone"`
	Beside quietResult `json:"beside"`
	After  quietResult `json:"after"`
	// What the loud ones did meanwhile.
	FloodPerSecond   float64 `json:"flood_per_second"`
	RefusedPerSecond float64 `json:"refused_per_second"`
	RangesPerSecond  float64 `json:"ranges_per_second"`
}

// quietResult is what the quiet tenant saw for a while.
type quietResult struct {
	PerSecond float64   `json:"per_second"`
	Latency   quantiles `json:"latency"`
	Failed    int       `json:"failed"`
}

// measureNeighbours measures a quiet tenant alone, beside one that floods at ten
// times its limit and one that runs maximal ranges with ten thousand watches open,
// and alone again.
func (b *bench) measureNeighbours(ctx context.Context) error {
	s, err := b.makeSide("neighbours", b.opts.flotillaPath, newFlotillaSide)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.server.start(ctx); err != nil {
		return err
	}
	data := filepath.Join(s.server.dir, "data")
	info, err := readDevInfo(data)
	if err != nil {
		return err
	}
	tenants, err := connectNeighbours(ctx, info, data)
	if err != nil {
		return err
	}
	defer tenants.close()
	r := &neighboursResult{}
	if err := tenants.preload(ctx); err != nil {
		return err
	}
	if r.Alone, err = tenants.beQuiet(ctx, b.opts.neighbours); err != nil {
		return err
	}
	loud, stop := context.WithCancel(ctx)
	defer stop()
	var making sync.WaitGroup
	defer making.Wait()
	defer stop()
	if err := tenants.watch(loud, &making, s.etcdAddress); err != nil {
		return err
	}
	began := time.Now()
	var flooded, refused, ranged atomic.Int64
	tenants.flood(loud, &making, &flooded, &refused)
	tenants.rangeAll(loud, &making, &ranged)
	if r.Beside, err = tenants.beQuiet(ctx, b.opts.neighbours); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	r.FloodPerSecond, r.RefusedPerSecond = float64(flooded.Load())/took, float64(refused.Load())/took
	r.RangesPerSecond = float64(ranged.Load()) / took
	stop()
	making.Wait()
	if r.After, err = tenants.beQuiet(ctx, b.opts.neighbours); err != nil {
		return err
	}
	b.report.Neighbours = r
	b.report.printNeighbours(b.out)
	return nil
}

// neighbours are three tenants of one node, each with connections of its own.
type neighbours struct {
	quiet, flooding, ranging *flotilla.Client
	rangesKey                string
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
	n := &neighbours{rangesKey: keys[2]}
	for i, client := range []**flotilla.Client{&n.quiet, &n.flooding, &n.ranging} {
		// One attempt each: what is refused is counted, and not tried again.
		if *client, err = flotilla.New(flotilla.Config{URL: info.APIURL, APIKey: keys[i], AttemptsMax: 1}); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *neighbours) close() {
	for _, client := range []*flotilla.Client{n.quiet, n.flooding, n.ranging} {
		_ = client.Close() // of no interest
	}
}

func (n *neighbours) preload(ctx context.Context) error {
	kv, value := n.ranging.Namespace("default").KV, make([]byte, 256)
	return inParallel(ctx, 64, rangedKeys, func(ctx context.Context, i int) error {
		_, err := kv.Put(ctx, rangedKey(i), value, nil)
		return err
	})
}

func rangedKey(i int) string { return fmt.Sprintf("key-%06d", i) }

// beQuiet makes the quiet tenant's load for a while: requests at their times, however
// long the ones before take.
func (n *neighbours) beQuiet(ctx context.Context, during time.Duration) (quietResult, error) {
	kv, value := n.quiet.Namespace("default").KV, make([]byte, 256)
	if _, err := kv.Put(ctx, "quiet-0", value, nil); err != nil { // which connects
		return quietResult{}, err
	}
	var mu sync.Mutex
	var times []time.Duration
	var failed int
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
			if i%2 == 0 {
				_, err = kv.Put(ctx, key, value, nil)
			} else {
				_, err = kv.Get(ctx, key, nil)
			}
			took := time.Since(start)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && !errors.Is(err, flotilla.ErrKeyNotFound) {
				failed++
			}
			times = append(times, took)
		})
	}
	calls.Wait()
	took := time.Since(began).Seconds()
	return quietResult{PerSecond: float64(len(times)) / took, Latency: quantilesOf(times), Failed: failed}, ctx.Err()
}

// flood sends ten times what the tenant may, at even times.
func (n *neighbours) flood(ctx context.Context, making *sync.WaitGroup, flooded, refused *atomic.Int64) {
	kv, value := n.flooding.Namespace("default").KV, make([]byte, 256)
	const every = time.Second * floodCallers / (floodLimit * floodFactor)
	for range floodCallers {
		making.Go(func() {
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for ctx.Err() == nil {
				<-ticker.C
				switch _, err := kv.Put(ctx, fmt.Sprintf("flood-%d", rand.IntN(1000)), value, nil); {
				case err == nil:
					flooded.Add(1)
				case ctx.Err() == nil:
					refused.Add(1)
				}
			}
		})
	}
}

// rangeAll reads all keys again and again.
func (n *neighbours) rangeAll(ctx context.Context, making *sync.WaitGroup, ranged *atomic.Int64) {
	kv := n.ranging.Namespace("default").KV
	for range rangeCallers {
		making.Go(func() {
			for ctx.Err() == nil {
				for _, err := range kv.Range(ctx, flotilla.Prefix("key-"), nil) {
					if err != nil {
						break
					}
				}
				ranged.Add(1)
			}
		})
	}
}

// watch opens the watches, and writes some of what they show.
func (n *neighbours) watch(ctx context.Context, making *sync.WaitGroup, etcd string) error {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{etcd}, Username: "ranges/default", Password: n.rangesKey, DialTimeout: time.Minute, Logger: zap.NewNop(),
	})
	if err != nil {
		return err
	}
	side := &watchSide{client: client}
	channels, err := side.watch(ctx, neighbourWatches, func(i int) (string, []clientv3.OpOption) { return rangedKey(i), nil })
	if err != nil {
		side.close()
		return err
	}
	making.Go(func() {
		defer side.close()
		<-ctx.Done()
	})
	for _, channel := range channels {
		making.Go(func() {
			for range channel { //nolint:revive // they are only to be taken
			}
		})
	}
	kv, value := n.ranging.Namespace("default").KV, make([]byte, 256)
	making.Go(func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			<-ticker.C
			_, _ = kv.Put(ctx, rangedKey(rand.IntN(neighbourWatches)), value, nil) // of no interest
		}
	})
	return nil
}
