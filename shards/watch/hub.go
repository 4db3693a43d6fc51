package watch

import (
	"cmp"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	// feedBytesMax bounds the events of one namespace, in bytes, that wait to be
	// matched with its watches; also those of one batch.
	feedBytesMax = 16 << 20
	// queuedBytesMax bounds those of all namespaces of a tenant on this node; it is
	// less the more other tenants have, see amount.
	queuedBytesMax = 32 << 20
)

// ReadFunc calls read with a namespace's present state on this node: at least
// what was published to the hub before.
type ReadFunc func(ns tenancy.NamespaceID, read func(mvcc.Reader, mvcc.State) error) error

// Config is how the watches of a shard are kept. Zero fields take the defaults.
type Config struct {
	// WatchBytesMax bounds the events that wait for one watch, in bytes. A
	// watch that would have more reads them from the history later. Default
	// 4 MiB.
	WatchBytesMax int
	// TenantBytesMax bounds those of all watches of a tenant on this node, and four
	// times as much those of all tenants: the more others have, the less a tenant
	// may. Default 64 MiB.
	TenantBytesMax int
	// SendingBytesMax is when the streams of a tenant on this node give out no
	// more events until some were sent, in bytes of events and of the copies
	// that are made of them. It is less the more other tenants are sending, of four
	// times as much for all. Default 64 MiB.
	SendingBytesMax int
	// RecentBytesMax bounds the events of one namespace that are kept while
	// watches of it are behind, so that these need not read them from disk.
	// Default 8 MiB.
	RecentBytesMax int
	// TenantRecentBytesMax bounds those of all namespaces of a tenant on this
	// node. Default 32 MiB.
	TenantRecentBytesMax int
}

// WithDefaults fills the zero fields.
func (c Config) WithDefaults() Config {
	c.WatchBytesMax = cmp.Or(c.WatchBytesMax, 4<<20)
	c.TenantBytesMax = cmp.Or(c.TenantBytesMax, 64<<20)
	c.SendingBytesMax = cmp.Or(c.SendingBytesMax, 64<<20)
	c.RecentBytesMax = cmp.Or(c.RecentBytesMax, 8<<20)
	c.TenantRecentBytesMax = cmp.Or(c.TenantRecentBytesMax, 32<<20)
	return c
}

// A Hub is the watches of one shard's replica. Safe for concurrent use.
type Hub struct {
	cfg      Config
	accounts *Accounts
	read     ReadFunc
	metrics  *Metrics

	// count is the number of feeds: while it is 0 nothing is recorded.
	count atomic.Int64
	// feeds are by namespace, for look-ups by the apply goroutine; they change
	// under mu.
	feeds sync.Map // tenancy.NamespaceID -> *feed
	mu    sync.Mutex
	ended error // why no watch can begin; guarded by mu

	workerMu sync.Mutex // guards stopped, and that no worker starts after it
	stopped  bool
	workers  sync.WaitGroup // those that match
}

// NewHub makes the hub of one shard. The accounts are the node's.
func NewHub(cfg Config, accounts *Accounts, metrics *Metrics, read ReadFunc) *Hub {
	return &Hub{cfg: cfg.WithDefaults(), accounts: accounts, metrics: metrics, read: read}
}

// idle tells whether nobody watches anything.
func (h *Hub) idle() bool { return h.count.Load() == 0 }

// watched tells whether a namespace has watches.
func (h *Hub) watched(ns tenancy.NamespaceID) bool { return h.feed(ns) != nil }

// feed returns a namespace's feed, nil if nobody watches it.
func (h *Hub) feed(ns tenancy.NamespaceID) *feed {
	if f, ok := h.feeds.Load(ns); ok {
		if f, ok := f.(*feed); ok {
			return f
		}
	}
	return nil
}

// enter returns the namespace's feed for one more watch; leave gives it back.
// The account is that of the namespace's tenant.
func (h *Hub) enter(ns tenancy.NamespaceID, own *account) (*feed, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != nil {
		return nil, h.ended
	}
	f := h.feed(ns)
	if f == nil {
		f = &feed{hub: h, namespace: ns, account: own}
		h.feeds.Store(ns, f)
		h.count.Add(1)
	}
	f.users++
	return f, nil
}

func (h *Hub) leave(f *feed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.users--; f.users == 0 {
		h.feeds.Delete(f.namespace)
		h.count.Add(-1)
	}
}

// reset turns all watches to the history, which has come further than was
// published.
func (h *Hub) reset() {
	h.feeds.Range(func(_, f any) bool {
		if f, ok := f.(*feed); ok {
			f.reset()
		}
		return true
	})
}

// Close ends all watches with an error, and waits for what the hub still does.
// What is published later reaches nobody.
func (h *Hub) Close(err error) {
	if err == nil {
		err = errors.New("the shard is closed")
	}
	h.mu.Lock()
	h.ended = err
	h.mu.Unlock()
	h.workerMu.Lock()
	h.stopped = true
	h.workerMu.Unlock()
	h.workers.Wait()
	h.EndAll(err)
}

// EndAll ends all present watches with an error. New ones may begin.
func (h *Hub) EndAll(err error) {
	h.feeds.Range(func(_, f any) bool {
		if f, ok := f.(*feed); ok {
			f.cancelAll(err)
		}
		return true
	})
}

// startWorker runs a feed's worker, unless the hub is being closed.
func (h *Hub) startWorker(run func()) bool {
	h.workerMu.Lock()
	defer h.workerMu.Unlock()
	if h.stopped {
		return false
	}
	h.workers.Go(run)
	return true
}

// closed returns why the hub was closed.
func (h *Hub) closed() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended
}
