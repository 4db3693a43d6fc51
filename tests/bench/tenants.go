package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
)

const (
	// tenantsPerCall is how many CreateTenants takes at most.
	tenantsPerCall = 500
	tenantCreators = 2
	// tenantsAsked is how many make a first and a second request.
	tenantsAsked = 500
)

// tenantsResult is a node of many tenants, each with a namespace and a key.
type tenantsResult struct {
	Tenants   int       `json:"tenants"`
	PerSecond float64   `json:"created_per_second"`
	Empty     nodeState `json:"empty"`
	Filled    nodeState `json:"filled"`
	// First is a tenant's first request to the node after it was started again, for
	// which its records are read; Second is the next one.
	First  quantiles `json:"first_request"`
	Second quantiles `json:"second_request"`
}

// quantiles are how long requests took.
type quantiles struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
}

// quantilesOf sorts the times.
func quantilesOf(times []time.Duration) quantiles {
	slices.Sort(times)
	return quantiles{P50: times[len(times)/2], P99: times[len(times)*99/100]}
}

// measureTenants measures how fast tenants are created, what they take, and what it
// takes to know their keys.
func (b *bench) measureTenants(ctx context.Context) error {
	s, err := b.makeSide("tenants", b.opts.flotillaPath, newFlotillaSide)
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
	r := &tenantsResult{Tenants: b.opts.tenants}
	note := func(into *nodeState) error {
		u, err := s.server.usage()
		if err != nil {
			return err
		}
		goroutines, err := countGoroutines(ctx, info.OpsURL)
		*into = nodeState{Memory: u.memory, Goroutines: goroutines}
		return err
	}
	if err := note(&r.Empty); err != nil {
		return err
	}
	began := time.Now()
	keys, err := b.fillTenants(ctx, info, data)
	if err != nil {
		return fmt.Errorf("create tenants: %w", err)
	}
	r.PerSecond = float64(b.opts.tenants) / time.Since(began).Seconds()
	if err := note(&r.Filled); err != nil {
		return err
	}
	if _, err := s.server.restart(ctx); err != nil {
		return err
	}
	if info, err = readDevInfo(data); err != nil {
		return err
	}
	if r.First, r.Second, err = askTwice(ctx, info, keys); err != nil {
		return err
	}
	b.report.Tenants = r
	b.report.printTenants(b.out)
	return nil
}

// fillTenants creates the tenants, and returns the API keys of some.
func (b *bench) fillTenants(ctx context.Context, info devInfo, data string) ([]string, error) {
	operator, err := newOperator(info, data)
	if err != nil {
		return nil, err
	}
	n := b.opts.tenants
	step := max(1, n/tenantsAsked)
	var mu sync.Mutex
	var kept []string
	b.progress.begin("create tenants", n, "tenants")
	defer b.progress.end()
	calls := (n + tenantsPerCall - 1) / tenantsPerCall
	err = inParallel(ctx, tenantCreators, calls, func(ctx context.Context, call int) error {
		first := call * tenantsPerCall
		list := make([]*adminv1.NewTenant, min(tenantsPerCall, n-first))
		for i := range list {
			list[i] = &adminv1.NewTenant{Name: fmt.Sprintf("bench-%07d", first+i)}
		}
		keys, err := createTenants(ctx, operator, list...)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for i, key := range keys {
			if (first+i)%step == 0 {
				kept = append(kept, key)
			}
		}
		b.progress.add(len(list))
		return nil
	})
	return kept, err
}

// askTwice makes two requests of each tenant, one after the other, over a connection
// that there is.
func askTwice(ctx context.Context, info devInfo, keys []string) (first, second quantiles, err error) {
	kv := flotillav1connect.NewKVServiceClient(http.DefaultClient, info.APIURL)
	get := func(key string) (time.Duration, error) {
		ctx, call := connect.NewClientContext(ctx)
		call.RequestHeader().Set("Authorization", "Bearer "+key)
		began := time.Now()
		_, err := kv.Get(ctx, &flotillav1.GetRequest{Key: []byte("none")})
		return time.Since(began), err
	}
	if _, err := get(info.APIKey); err != nil { // which makes the connection
		return first, second, err
	}
	var times [2][]time.Duration
	for _, key := range keys {
		for i := range times {
			took, err := get(key)
			if err != nil {
				return first, second, err
			}
			times[i] = append(times[i], took)
		}
	}
	return quantilesOf(times[0]), quantilesOf(times[1]), nil
}
