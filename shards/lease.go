package shards

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/replica"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// leaseInterval is how often the host looks whether leases have to end. Of
	// the second that a lease may last beyond its TTL it takes a tenth.
	leaseInterval = 100 * time.Millisecond
	// The size of one command that ends leases: what a shard's other commands
	// wait for.
	expireLeasesMax = 1000
	expireKeysMax   = 2000
	// clockNotedAfter is after how long without an entry the clock of a shard
	// that has leases is noted in the log. A restart prolongs leases by the time
	// for which no node ran, and by at most so much.
	clockNotedAfter = 5 * time.Second
)

// expireLeases ends the leases of the shards that this node leads. One goroutine
// serves all of them; nothing is proposed for a shard without leases, and it
// costs two comparisons.
func (h *Host) expireLeases(ctx context.Context) {
	ticker := time.NewTicker(leaseInterval)
	defer ticker.Stop()
	more := make(chan struct{}, 1) // holds a token when a shard has more to end
	for {
		select {
		case <-ctx.Done():
			for _, s := range h.running() {
				if s.replica.NextExpiry() != replica.NoExpiry {
					h.proposeExpiry(s, 0, more) // so that the clock goes on from here
				}
			}
			return
		case <-ticker.C:
		case <-more:
		}
		for _, s := range h.running() {
			h.expireDue(s, more)
		}
	}
}

// expireDue proposes what a shard's leases need, without waiting for it.
func (h *Host) expireDue(s *shard, more chan<- struct{}) {
	expiry := s.replica.NextExpiry()
	now := s.clock.NowMS()
	switch {
	case expiry == replica.NoExpiry:
	case expiry <= now:
		h.proposeExpiry(s, expireLeasesMax, more)
	case s.replica.ClockMS()+uint64(clockNotedAfter.Milliseconds()) <= now:
		h.proposeExpiry(s, 0, more)
	}
}

// proposeExpiry ends up to leasesMax leases whose time is over, unless that is
// on its way already.
func (h *Host) proposeExpiry(s *shard, leasesMax uint32, more chan<- struct{}) {
	if !s.leads() || !s.expiring.CompareAndSwap(false, true) {
		return
	}
	done := func(r machine.Result) {
		s.expiring.Store(false)
		response, _ := r.Response.(*internalv1.ExpireLeasesResponse)
		s.metrics.expiredLeases.Add(float64(response.GetLeases()))
		if r.Err == nil && response.GetMore() && leasesMax > 0 {
			select {
			case more <- struct{}{}:
			default:
			}
		}
	}
	command, err := proto.Marshal(&internalv1.Command{Operation: &internalv1.Command_ExpireLeases{
		ExpireLeases: &internalv1.ExpireLeases{LeasesMax: leasesMax, KeysMax: expireKeysMax},
	}})
	if err == nil {
		err = h.Submit(s.id, &Call{Tenant: tenancy.SystemTenant, Command: command, FreesSpace: true, Done: done})
	}
	if err != nil {
		s.expiring.Store(false)
		if _, moved := errors.AsType[*NotLeaderError](err); !moved && !errors.Is(err, ErrStopping) {
			h.log.Warn("end of leases put off", "shard_id", uint64(s.id), "err", err)
		}
	}
}
