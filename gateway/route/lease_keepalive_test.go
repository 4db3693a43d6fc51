package route_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/flotillakv/flotilla/gateway/route"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

// leaseHost answers renewals when the test says so. A lease's TTL is its id in
// seconds.
type leaseHost struct {
	fakeHost

	mu       sync.Mutex
	commands []int // the number of ids of each
	answer   chan error
}

func (h *leaseHost) Submit(_ shards.ShardID, call *shards.Call) error {
	var c internalv1.Command
	if err := proto.Unmarshal(call.Command, &c); err != nil {
		return err
	}
	call.Take()
	ids := c.GetKeepAlive().GetIds()
	h.mu.Lock()
	h.commands = append(h.commands, len(ids))
	h.mu.Unlock()
	go func() {
		if err := <-h.answer; err != nil {
			call.Fail(err)
			return
		}
		response := &flotillav1.KeepAliveResponse{Revision: 9}
		for _, id := range ids {
			response.Leases = append(response.Leases, &flotillav1.KeptLease{Id: id, Ttl: &durationpb.Duration{Seconds: id}})
		}
		call.Done(machine.Result{Response: response})
	}()
	return nil
}

// renewing is the callers of one test.
type renewing struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // each caller's
	host *leaseHost
	kv   *route.KV
	done sync.WaitGroup
}

func newRenewing(t *testing.T) *renewing {
	t.Helper()
	h := &leaseHost{answer: make(chan error)}
	ctx := tenancy.NewContext(t.Context(), &tenancy.Principal{
		Tenant: "t", Permissions: tenancy.FullAccess(), Limits: tenancy.Limits{}.WithDefaults(),
	})
	return &renewing{t: t, ctx: ctx, host: h, kv: newKV(h)}
}

func (r *renewing) renew(ctx context.Context, ids ...int64) error {
	response, err := route.Do[*flotillav1.KeepAliveResponse](ctx, r.kv, &flotillav1.KeepAliveRequest{Ids: ids})
	if err != nil {
		return err
	}
	if response.GetRevision() != 9 || len(response.GetLeases()) != len(ids) {
		return fmt.Errorf("the answer to %v is %v", ids, response)
	}
	for i, id := range ids {
		if l := response.GetLeases()[i]; l.GetId() != id || l.GetTtl().GetSeconds() != id {
			return fmt.Errorf("lease %d is answered by %v", id, l)
		}
	}
	return nil
}

func TestRenewalsGatherWhileOneIsOnItsWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRenewing(t)
		start := func(ids ...int64) {
			r.done.Go(func() { require.NoError(t, r.renew(r.ctx, ids...)) })
			synctest.Wait()
		}
		start(1)
		require.Equal(t, []int{1}, r.host.commands, "a lone one waits for nobody")
		for i := range int64(100) {
			start(100+i, 200+i, 1)
		}
		many := make([]int64, machine.KeepAliveIDsMax)
		for i := range many {
			many[i] = int64(i + 1)
		}
		start(many...)
		start(5)
		require.Len(t, r.host.commands, 1)
		for range 4 {
			r.host.answer <- nil
			synctest.Wait()
		}
		r.done.Wait()
		require.Equal(t, []int{1, 300, machine.KeepAliveIDsMax, 1}, r.host.commands)
		start2 := make(chan error, 1)
		go func() { start2 <- r.renew(r.ctx, 6) }()
		synctest.Wait()
		require.Len(t, r.host.commands, 5, "then the line begins anew")
		r.host.answer <- nil
		require.NoError(t, <-start2)
	})
}

func TestRenewalOutlivesTheCallerThatBeganIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRenewing(t)
		ctx, cancel := context.WithCancel(r.ctx)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- r.renew(ctx, 1) }()
		synctest.Wait()
		go func() { second <- r.renew(r.ctx, 2) }()
		synctest.Wait()
		cancel()
		err := <-first
		require.ErrorIs(t, err, shards.ErrOutcomeUnknown)
		require.ErrorIs(t, err, context.Canceled)
		r.host.answer <- nil
		r.host.answer <- nil
		require.NoError(t, <-second)
	})
}

func TestRefusedRenewalsAreToldToAllTheirCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRenewing(t)
		refused := errors.New("refused")
		told := make(chan error, 3)
		for i := range int64(3) {
			go func() { told <- r.renew(r.ctx, i+1) }()
			synctest.Wait()
		}
		r.host.answer <- refused
		r.host.answer <- refused
		for range 3 {
			require.ErrorIs(t, <-told, refused)
		}
	})
}

func TestRenewalsThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRenewing(t)
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		many := make([]int64, machine.KeepAliveIDsMax)
		for range 101 { // the first one is on its way
			r.done.Go(func() { require.ErrorIs(t, r.renew(ctx, many...), context.DeadlineExceeded) })
			synctest.Wait()
		}
		var busy *shards.BusyError
		require.ErrorAs(t, r.renew(ctx, 1), &busy)
		r.done.Wait()
		for range 101 {
			r.host.answer <- errors.New("too late")
		}
	})
}

// brokenHost has a bug.
type brokenHost struct{ fakeHost }

func (*brokenHost) Submit(shards.ShardID, *shards.Call) error { panic("a bug") }

// Renewals run on a goroutine of no caller, where a panic would end the node.
func TestRenewalThatPanicsIsAnError(t *testing.T) {
	t.Parallel()
	r := newRenewing(t)
	r.kv = newKV(&brokenHost{})
	for range 2 { // the line begins anew
		require.ErrorContains(t, r.renew(r.ctx, 1), "panic: a bug")
	}
}
