package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// revocable is a system shard with one API key, "k", which can be revoked. All of it
// happens in virtual time.
type revocable struct {
	mu       sync.Mutex
	revision uint64
	revoked  uint64 // the revision at which the key was; 0 while it is good
	delay    time.Duration
	down     error
	hang     bool          // of the watches that begin, and of the one that is
	late     time.Duration // of what the watches show
	reads    int           // of the key
	watches  int           // that have begun
	changed  chan struct{}
}

// change changes how the shard is.
func (r *revocable) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// revoke revokes the key.
func (r *revocable) revoke() {
	r.change(func() {
		r.revision++
		r.revoked = r.revision
	})
}

// keyReads is how often the key was read.
func (r *revocable) keyReads() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads
}

// Query implements catalog.Host. What it answers is true when it begins, and may not be
// any more when it ends.
func (r *revocable) Query(ctx context.Context, _ shards.ShardID, _ tenancy.NamespaceID, _ shards.Consistency, request proto.Message) (proto.Message, error) {
	r.mu.Lock()
	delay, revision, revoked := r.delay, r.revision, r.revoked
	r.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(delay):
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return nil, r.down
	}
	get, ok := request.(*flotillav1.GetRequest)
	if !ok {
		return &flotillav1.RangeResponse{Revision: revision}, nil
	}
	response := &flotillav1.GetResponse{Revision: revision}
	if string(get.GetKey()) != "keys/k" {
		return response, nil
	}
	r.reads++
	if revoked == 0 {
		record, err := proto.Marshal(&internalv1.APIKeyRecord{Tenant: "t"})
		response.Kv = &flotillav1.KeyValue{Key: get.GetKey(), Value: record, ModRevision: 2}
		return response, err
	}
	return response, nil
}

// Propose implements catalog.Host.
func (r *revocable) Propose(context.Context, shards.ShardID, tenancy.TenantID, *internalv1.Command) (proto.Message, error) {
	return nil, errors.New("nothing is to be changed")
}

// Watch implements catalog.Host.
func (r *revocable) Watch(ctx context.Context, _ shards.ShardID, _ watch.Owner, spec watch.Spec) iter.Seq2[watch.Answer, error] {
	return func(yield func(watch.Answer, error) bool) {
		r.mu.Lock()
		r.watches++
		shown := r.revision
		r.mu.Unlock()
		if spec.From > 0 {
			shown = uint64(spec.From) - 1
		}
		if !yield(watch.Answer{Created: true, Revision: mvcc.Revision(shown)}, nil) {
			return
		}
		for {
			r.mu.Lock()
			changed, late, now := r.changed, r.late, r.revision
			if r.hang {
				now = shown
			}
			revoked := r.revoked > shown && r.revoked <= now
			r.mu.Unlock()
			if now > shown {
				<-time.After(late)
				answer := watch.Answer{Revision: mvcc.Revision(now)}
				if revoked {
					answer.Events = []*watch.Event{{Key: []byte("keys/k")}}
				}
				if !yield(answer, nil) {
					return
				}
				shown = now
				continue
			}
			select {
			case <-ctx.Done():
				yield(watch.Answer{}, context.Cause(ctx))
				return
			case <-changed:
			}
		}
	}
}

// followRevocable is a catalog that follows such a shard, and has the key in memory.
func followRevocable(t *testing.T) (*catalog.Catalog, *revocable) {
	t.Helper()
	r := &revocable{revision: 5, changed: make(chan struct{})}
	c := follow(t, r, catalog.Config{}).Catalog
	<-time.After(10 * time.Second)
	require.NoError(t, keyHolds(t, c))
	before := r.keyReads()
	require.NoError(t, keyHolds(t, c))
	require.Equal(t, before, r.keyReads(), "it is in memory")
	return c, r
}

func keyHolds(t *testing.T, c *catalog.Catalog) error {
	t.Helper()
	_, err := c.APIKey(t.Context(), "k")
	return err
}

// K3: whenever the key is revoked, and whenever a stream asked last, the stream ends
// within 2 s, though the watch shows nothing and no watch after it does; a request
// within one less.
func TestRevokedWhileTheWatchHangs(t *testing.T) {
	t.Parallel()
	const streamsAsk = time.Second // as gateway does
	for _, delay := range []time.Duration{0, time.Millisecond, 100 * time.Millisecond, 140 * time.Millisecond} {
		for after := time.Duration(1); after < 500*time.Millisecond; after += 61 * time.Millisecond {
			t.Run(fmt.Sprintf("%s after a look, which takes %s", after, delay), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					c, r := followRevocable(t)
					r.change(func() { r.delay, r.hang = delay, true })
					<-time.After(time.Second + after)
					r.revoke()
					began := time.Now()
					for keyHolds(t, c) == nil {
						<-time.After(time.Millisecond)
					}
					ended := time.Since(began)
					// A stream may have asked just before, and then asks once more.
					require.LessOrEqual(t, ended+streamsAsk, 2*time.Second)
					for range 500 { // from then on, whatever the watches do
						require.ErrorIs(t, keyHolds(t, c), tenancy.ErrUnauthenticated)
						<-time.After(10 * time.Millisecond)
					}
					require.Greater(t, r.watches, 2, "another one is tried, again and again")
				})
			})
		}
	}
}

// A look that is not answered holds up none of those after it.
func TestRevokedBehindAnUnansweredLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := followRevocable(t)
		r.change(func() { r.delay, r.hang = time.Hour, true })
		<-time.After(501 * time.Millisecond)
		r.change(func() { r.delay = 0 })
		r.revoke()
		<-time.After(710 * time.Millisecond)
		require.ErrorIs(t, keyHolds(t, c), tenancy.ErrUnauthenticated)
	})
}

// A watch that is opened anew and works has memory used again.
func TestMemoryIsUsedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := followRevocable(t)
		r.change(func() { r.hang = true })
		r.change(func() { r.revision++ })
		<-time.After(900 * time.Millisecond) // before another watch takes its place
		before := r.keyReads()
		require.NoError(t, keyHolds(t, c))
		require.NoError(t, keyHolds(t, c))
		require.Equal(t, before+2, r.keyReads(), "it is read each time")
		r.change(func() { r.hang = false })
		synctest.Wait()
		require.NoError(t, keyHolds(t, c))
		require.Equal(t, before+2, r.keyReads())
	})
}

// Nobody reads because the system shard is slow for a moment, such as while its
// leader changes, or the watch a little behind.
func TestSlownessTurnsMemoryOffForNobody(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]func(r *revocable){
		"its leader changes": func(r *revocable) {
			r.change(func() { r.delay = 1500 * time.Millisecond })
			<-time.After(1500 * time.Millisecond)
			r.change(func() { r.delay = 0 })
		},
		"its leader changes, with a change at the end and a late watch": func(r *revocable) {
			r.change(func() { r.delay, r.late = 1500*time.Millisecond, 190*time.Millisecond })
			<-time.After(1499 * time.Millisecond)
			r.change(func() { r.delay, r.revision = 0, r.revision+1 })
		},
		"all reads take long": func(r *revocable) {
			r.change(func() { r.delay = 1900 * time.Millisecond })
		},
		"changes all the time, and a watch that lags": func(r *revocable) {
			r.change(func() { r.late = 90 * time.Millisecond })
			for range 200 {
				r.change(func() { r.revision++ })
				<-time.After(17 * time.Millisecond)
			}
		},
		"each other read fails": func(r *revocable) {
			for range 20 {
				r.change(func() { r.down = errors.New("no leader") })
				<-time.After(500 * time.Millisecond)
				r.change(func() { r.down = nil })
				<-time.After(500 * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, r := followRevocable(t)
				before := r.keyReads()
				over := make(chan struct{})
				go func() { slow(r); close(over) }()
				for range 1000 {
					require.NoError(t, keyHolds(t, c))
					require.Equal(t, before, r.keyReads())
					<-time.After(10 * time.Millisecond)
				}
				<-over
			})
		})
	}
}

// While the system shard cannot be reached, what is known stays in use, also when the
// watch was known to hang before; and is not when it can be reached again.
func TestWhatIsKnownOutlivesAHangingWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := followRevocable(t)
		r.change(func() { r.hang, r.revision = true, r.revision+1 })
		<-time.After(time.Second)
		require.NoError(t, keyHolds(t, c))
		r.change(func() { r.down = errors.New("no quorum") })
		before := r.keyReads()
		for range 10 {
			<-time.After(time.Minute)
			require.NoError(t, keyHolds(t, c))
		}
		require.Equal(t, before, r.keyReads())
		r.revoke()
		require.NoError(t, keyHolds(t, c))
		r.change(func() { r.down = nil })
		<-time.After(time.Second)
		require.ErrorIs(t, keyHolds(t, c), tenancy.ErrUnauthenticated)
	})
}
