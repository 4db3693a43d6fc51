package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

const (
	leaseTTL      = 10 * time.Second
	leaseGranters = 128
	// leaseSettle is for how long leases are kept alive before it is measured:
	// each is renewed as it will be from then on.
	leaseSettle = 5 * time.Second
)

// leasesResult is what it takes to keep many leases alive, and when leases end
// that are not.
type leasesResult struct {
	Leases       int     `json:"leases"`
	TTLSeconds   float64 `json:"ttl_seconds"`
	GrantsPerSec float64 `json:"grants_per_second"`
	Seconds      float64 `json:"seconds"`
	ServerCPU    float64 `json:"server_cpu_percent"`
	ClientCPU    float64 `json:"client_cpu_percent"`
	Empty        memory  `json:"empty"`
	Holding      memory  `json:"holding"`
	// Expiry is of leases with a key each that are not kept alive meanwhile.
	Expiry expirySpread `json:"expiry"`
	// AllGoneSeconds is from when all leases should have ended, their holder
	// having gone, to when they had.
	AllGoneSeconds float64 `json:"all_gone_seconds"`
}

// measureLeases holds many leases with one client and measures the CPU that
// the server takes to keep them alive.
func (b *bench) measureLeases(ctx context.Context) error {
	s, err := b.makeSide("leases", b.opts.flotillaPath, newFlotillaSide)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.server.start(ctx); err != nil {
		return err
	}
	readInfo := func() (devInfo, error) { return readDevInfo(filepath.Join(s.server.dir, "data")) }
	holder, info, err := connectFlotilla(readInfo)
	if err != nil {
		return err
	}
	defer holder.Close()
	r := &leasesResult{Leases: b.opts.leases, TTLSeconds: leaseTTL.Seconds()}
	u, err := s.server.usage()
	if err != nil {
		return err
	}
	r.Empty = u.memory
	held, err := b.holdLeases(ctx, holder.Namespace(info.Namespace), r)
	if err != nil {
		return err
	}
	if err := wait(ctx, leaseSettle); err != nil {
		return err
	}
	b.progress.say("keep %s leases alive for %s", thousands(float64(len(held))), b.opts.leaseTime)
	if err := b.measureRenewals(ctx, s.server, r); err != nil {
		return err
	}
	if b.opts.profileDir != "" {
		if err := os.MkdirAll(b.opts.profileDir, 0o755); err != nil {
			return err
		}
		if err := fetchProfile(ctx, s, filepath.Join(b.opts.profileDir, "leases-flotilla-server.pprof")); err != nil {
			return err
		}
	}
	observer, _, err := connectFlotilla(readInfo)
	if err != nil {
		return err
	}
	defer observer.Close()
	ns := observer.Namespace(info.Namespace)
	if r.Expiry, err = measureExpiry(ctx, ns); err != nil {
		return err
	}
	for _, lease := range held {
		select {
		case <-lease.Lost():
			return fmt.Errorf("a lease was lost: %w", lease.Err())
		default:
		}
	}
	if err := holder.Close(); err != nil {
		return err
	}
	if r.AllGoneSeconds, err = waitForNoLeases(ctx, ns.Leases, time.Now().Add(leaseTTL)); err != nil {
		return err
	}
	b.report.Leases = r
	r.print(b.out)
	return nil
}

func (b *bench) holdLeases(ctx context.Context, ns *flotilla.Namespace, r *leasesResult) ([]*flotilla.Lease, error) {
	held := make([]*flotilla.Lease, r.Leases)
	b.progress.begin("grant leases", r.Leases, "leases")
	begin := time.Now()
	err := inParallel(ctx, leaseGranters, len(held), func(ctx context.Context, i int) (err error) {
		held[i], err = ns.Leases.Hold(ctx, leaseTTL, nil)
		b.progress.add(1)
		return err
	})
	b.progress.end()
	r.GrantsPerSec = float64(r.Leases) / time.Since(begin).Seconds()
	return held, err
}

// measureRenewals measures CPU while nothing but renewals happens.
func (b *bench) measureRenewals(ctx context.Context, s *server, r *leasesResult) error {
	before, err := s.usage()
	if err != nil {
		return err
	}
	clientBefore, err := ownCPU()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := wait(ctx, b.opts.leaseTime); err != nil {
		return err
	}
	after, err := s.usage()
	if err != nil {
		return err
	}
	clientAfter, err := ownCPU()
	if err != nil {
		return err
	}
	took := time.Since(begin)
	r.Seconds, r.Holding = took.Seconds(), after.memory
	r.ServerCPU = 100 * (after.CPU - before.CPU).Seconds() / took.Seconds()
	r.ClientCPU = 100 * (clientAfter - clientBefore).Seconds() / took.Seconds()
	return nil
}

// waitForNoLeases waits until a namespace has no leases, and tells how many
// seconds after due that was.
func waitForNoLeases(ctx context.Context, leases *flotilla.Leases, due time.Time) (float64, error) {
	for {
		left := false
		for _, err := range leases.List(ctx) {
			if err != nil {
				return 0, err
			}
			left = true
			break
		}
		if !left {
			return time.Since(due).Seconds(), nil
		}
		if time.Since(due) > time.Minute {
			return 0, errors.New("leases do not end")
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

func (r *leasesResult) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s leases of %gs, kept alive for %.0f s by one client\n",
		thousands(float64(r.Leases)), r.TTLSeconds, r.Seconds)
	var t table
	t.row("", "CPU server+client", "RSS before", "RSS", "granted/s")
	t.row("kept alive", fmt.Sprintf("%.1f+%.1f %%", r.ServerCPU, r.ClientCPU),
		megabytes(r.Empty.RSS), megabytes(r.Holding.RSS), thousands(r.GrantsPerSec))
	t.print(out)
	fmt.Fprintf(out, "\n%d leases that were not kept alive ended after their TTL by\n", r.Expiry.Leases)
	t = table{}
	t.row("", "min", "p50", "p99", "max")
	t.row("seconds", fmt.Sprintf("%.3f", r.Expiry.Min), fmt.Sprintf("%.3f", r.Expiry.P50),
		fmt.Sprintf("%.3f", r.Expiry.P99), fmt.Sprintf("%.3f", r.Expiry.Max))
	t.print(out)
	fmt.Fprintf(out, "\nwhen their holder had gone, all had ended %.2f s after their TTL\n", r.AllGoneSeconds)
}

// expirySpread is when leases ended, in seconds after their TTL had passed since
// the answer to the grant.
type expirySpread struct {
	Leases int     `json:"leases"`
	Min    float64 `json:"min"`
	P50    float64 `json:"p50"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

func newExpirySpread(late []time.Duration) expirySpread {
	slices.Sort(late)
	at := func(p int) float64 { return percentile(late, p).Seconds() }
	return expirySpread{
		Leases: len(late), Min: late[0].Seconds(), P50: at(50), P99: at(99), Max: late[len(late)-1].Seconds(),
	}
}
