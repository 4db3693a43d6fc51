package route

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// renewalTimeout is how long a command that renews leases may take.
	renewalTimeout = 10 * time.Second
	// renewalsWaitingMax bounds the leases of one namespace that wait to be
	// renewed; those who bring more are refused.
	renewalsWaitingMax = 1_000_000
)

// renewals gathers concurrent renewals of a namespace's leases: while one
// command is on its way the others wait for the next, so thousands of callers
// that renew a lease each cost an entry now and then, and a lone one never
// waits for company. It knows only namespaces with renewals on their way.
type renewals struct {
	mu   sync.Mutex
	byNS map[tenancy.NamespaceID]*renewalLine
}

// renewalLine is the renewals of one namespace that wait while a command is on
// its way.
type renewalLine struct {
	waiting []*renewal
	ids     int // in waiting
}

// renewal is one caller's.
type renewal struct {
	ids   []int64
	route catalog.Route
	// answered is closed when response or err is set.
	answered chan struct{}
	response *flotillav1.KeepAliveResponse
	err      error
}

// keepAlive renews leases for one caller.
func (kv *KV) keepAlive(ctx context.Context, a *admitted, req *flotillav1.KeepAliveRequest) (*flotillav1.KeepAliveResponse, error) {
	r := &renewal{ids: req.GetIds(), route: a.route, answered: make(chan struct{})}
	first, err := kv.renewals.join(r)
	if err != nil {
		return nil, err
	}
	if first {
		// The others' renewals must not end with this caller.
		go kv.renew(context.WithoutCancel(ctx), a.tenant, []*renewal{r})
	}
	select {
	case <-r.answered:
		return r.response, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("keep leases alive: %w: %w", shards.ErrOutcomeUnknown, context.Cause(ctx))
	}
}

// join puts a renewal in its namespace's line. first is true if no command is
// on its way: the renewal is not in line then, and the caller must run it.
func (rs *renewals) join(r *renewal) (first bool, err error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	line, ok := rs.byNS[r.route.Namespace]
	if !ok {
		if rs.byNS == nil {
			rs.byNS = make(map[tenancy.NamespaceID]*renewalLine)
		}
		rs.byNS[r.route.Namespace] = &renewalLine{}
		return true, nil
	}
	if line.ids+len(r.ids) > renewalsWaitingMax {
		return false, &shards.BusyError{Shard: r.route.Shard, Queue: "lease renewals", RetryAfter: 100 * time.Millisecond}
	}
	line.waiting = append(line.waiting, r)
	line.ids += len(r.ids)
	return false, nil
}

// next takes the renewals of the next command: as many as it holds. There are
// none when the line is empty, which then is forgotten.
func (rs *renewals) next(ns tenancy.NamespaceID) []*renewal {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	line := rs.byNS[ns]
	if len(line.waiting) == 0 {
		delete(rs.byNS, ns)
		return nil
	}
	n, ids := 0, 0
	for n < len(line.waiting) && (n == 0 || ids+len(line.waiting[n].ids) <= machine.KeepAliveIDsMax) {
		ids += len(line.waiting[n].ids)
		n++
	}
	taken := line.waiting[:n:n]
	line.waiting, line.ids = line.waiting[n:], line.ids-ids
	return taken
}

// renew runs one command after the other until none of the namespace's callers
// wait.
func (kv *KV) renew(ctx context.Context, tenant tenancy.TenantID, callers []*renewal) {
	ns := callers[0].route.Namespace
	for ; len(callers) > 0; callers = kv.renewals.next(ns) {
		response, err := kv.renewOnce(ctx, tenant, callers)
		first := 0
		for _, r := range callers {
			r.err = err
			if err == nil {
				r.response = &flotillav1.KeepAliveResponse{
					Revision: response.GetRevision(), Leases: response.GetLeases()[first : first+len(r.ids)],
				}
				first += len(r.ids)
			}
			close(r.answered)
		}
	}
}

func (kv *KV) renewOnce(ctx context.Context, tenant tenancy.TenantID, callers []*renewal) (_ *flotillav1.KeepAliveResponse, err error) {
	defer intercept.Recovered(&err) // it runs on no caller's goroutine
	ids := callers[0].ids
	if len(callers) > 1 {
		ids = nil
		for _, r := range callers {
			ids = append(ids, r.ids...)
		}
	}
	route := callers[len(callers)-1].route // the newest
	ctx, cancel := context.WithTimeout(ctx, renewalTimeout)
	defer cancel()
	answer, err := kv.router.Propose(ctx, route.Shard, tenant, &internalv1.Command{
		NamespaceId: uint64(route.Namespace), Epoch: route.Epoch,
		Operation: &internalv1.Command_KeepAlive{KeepAlive: &flotillav1.KeepAliveRequest{Ids: ids}},
	})
	if err != nil {
		return nil, err
	}
	response, ok := answer.(*flotillav1.KeepAliveResponse)
	if !ok || len(response.GetLeases()) != len(ids) {
		return nil, fmt.Errorf("the answer to the renewal of %d leases is a %T of another number", len(ids), answer)
	}
	return response, nil
}
