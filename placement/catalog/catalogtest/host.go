// Package catalogtest gives a catalog the shards of a test, and takes them away.
package catalogtest

import (
	"context"
	"errors"
	"iter"
	"sync"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// Host reaches the shards of one host as a router reaches those of many: not
// always.
type Host struct {
	shards *shards.Host

	// mu guards the rest.
	mu sync.Mutex
	// down refuses everything but watches.
	down error
	// ended is closed to end the watches.
	ended chan struct{}
	// hang keeps the answers of watches back.
	hang bool
	// blind keeps those of looks back.
	blind bool
}

// NewHost makes a host over shards.
func NewHost(h *shards.Host) *Host { return &Host{shards: h, ended: make(chan struct{})} }

// SetDown makes proposals and queries fail with an error, or lets them through
// again if it is nil.
func (h *Host) SetDown(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = err
}

// EndWatches ends all watches.
func (h *Host) EndWatches() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.ended)
	h.ended = make(chan struct{})
}

// SetHang makes watches hang, those that begin too: they show that they have begun,
// and nothing more.
func (h *Host) SetHang(hang bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hang = hang
}

// SetBlind keeps catalogs from finding out that watches hang: the record that they
// look at is not given to them.
func (h *Host) SetBlind(blind bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blind = blind
}

// looks tells whether a request is a look that is not answered.
func (h *Host) looks(request proto.Message) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	get, ok := request.(*flotillav1.GetRequest)
	return ok && h.blind && string(get.GetKey()) == "cluster"
}

func (h *Host) hangs() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hang
}

func (h *Host) state() (ended <-chan struct{}, down error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended, h.down
}

// Propose implements catalog.Host.
func (h *Host) Propose(ctx context.Context, shard shards.ShardID, tenant tenancy.TenantID, command *internalv1.Command) (proto.Message, error) {
	if _, down := h.state(); down != nil {
		return nil, down
	}
	return h.shards.Propose(ctx, shard, tenant, command)
}

// Query implements catalog.Host.
func (h *Host) Query(ctx context.Context, shard shards.ShardID, ns tenancy.NamespaceID, c shards.Consistency, request proto.Message) (response proto.Message, err error) {
	if _, down := h.state(); down != nil {
		return nil, down
	}
	if h.looks(request) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return h.shards.Query(ctx, shard, ns, c, request)
}

var errWatchEnded = errors.New("the test ended the watch")

// Watch implements catalog.Host.
func (h *Host) Watch(ctx context.Context, shard shards.ShardID, owner watch.Owner, spec watch.Spec) iter.Seq2[watch.Answer, error] {
	return func(yield func(watch.Answer, error) bool) {
		ended, _ := h.state()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			select {
			case <-ended:
				cancel(errWatchEnded)
			case <-ctx.Done():
			}
		}()
		for answer, err := range h.shards.Watch(ctx, shard, owner, spec) {
			if err == nil && !answer.Created && h.hangs() {
				<-ctx.Done()
				err = context.Cause(ctx)
			}
			if !yield(answer, err) {
				return
			}
		}
	}
}
