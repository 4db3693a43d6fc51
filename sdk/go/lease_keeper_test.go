package flotilla

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// leaseServer is a scripted server of renewals, in the time of a test bubble.
type leaseServer struct {
	t      *testing.T
	keeper *keeper

	mu       sync.Mutex
	ends     map[int64]time.Time // of the leases that exist
	ttl      time.Duration
	failing  map[string]error // of messages, by namespace
	down     error            // of streams and messages
	hanging  bool             // answers nothing
	streams  int
	messages int
	judged   error // how the last round ended, as its endpoint was told
}

func newLeaseServer(t *testing.T, ttl time.Duration) *leaseServer {
	t.Helper()
	s := &leaseServer{t: t, ttl: ttl, ends: map[int64]time.Time{}, failing: map[string]error{}}
	s.keeper = newKeeper(s.open)
	t.Cleanup(s.keeper.close)
	return s
}

// hold grants a lease and has it kept.
func (s *leaseServer) hold(namespace string, id int64) *Lease {
	s.mu.Lock()
	s.ends[id] = time.Now().Add(s.ttl)
	s.mu.Unlock()
	leases := &Leases{client: &Client{keeper: s.keeper}, namespace: namespace}
	l, err := leases.hold(id, s.ttl, time.Now())
	require.NoError(s.t, err)
	return l
}

func (s *leaseServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// overdue tells how many leases have passed their end.
func (s *leaseServer) overdue() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, end := range s.ends {
		if time.Now().After(end) {
			n++
		}
	}
	return n
}

func (s *leaseServer) open(ctx context.Context) (renewalStream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams++
	return &leaseStream{server: s, ctx: ctx, requests: make(chan *flotillav1.KeepAliveRequest, 100)}, s.down
}

type leaseStream struct {
	server   *leaseServer
	ctx      context.Context //nolint:containedctx // it is the stream's
	requests chan *flotillav1.KeepAliveRequest
}

func (st *leaseStream) ended(err error) { st.server.set(func() { st.server.judged = err }) }

func (st *leaseStream) Send(request *flotillav1.KeepAliveStreamRequest) error {
	if st.ctx.Err() != nil {
		return io.EOF
	}
	st.requests <- request.GetKeepAlive()
	return nil
}

func (st *leaseStream) Receive() (*flotillav1.KeepAliveStreamResponse, error) {
	req := <-st.requests
	s := st.server
	s.mu.Lock()
	hanging := s.hanging
	s.mu.Unlock()
	if hanging {
		<-st.ctx.Done()
		return nil, connect.NewError(connect.CodeCanceled, st.ctx.Err())
	}
	pass(time.Millisecond) // the way there and back
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages++
	if err := errors.Join(s.down, s.failing[req.GetNamespace()]); err != nil {
		return nil, err
	}
	response := &flotillav1.KeepAliveResponse{}
	for _, id := range req.GetIds() {
		kept := &flotillav1.KeptLease{Id: id}
		if _, ok := s.ends[id]; ok {
			s.ends[id] = time.Now().Add(s.ttl)
			kept.Ttl = durationpb.New(s.ttl)
		}
		response.Leases = append(response.Leases, kept)
	}
	return &flotillav1.KeepAliveStreamResponse{KeepAlive: response}, nil
}

func (st *leaseStream) CloseRequest() error  { return nil }
func (st *leaseStream) CloseResponse() error { return nil }

// refusal is an error as the server tells it.
func refusal(reason flotillav1.Reason) error {
	err := connect.NewError(connect.CodeNotFound, errors.New("refused"))
	detail, _ := connect.NewErrorDetail(&flotillav1.ErrorInfo{Reason: reason})
	err.AddDetail(detail)
	return err
}

var errDown = connect.NewError(connect.CodeUnavailable, errors.New("down"))

// pass lets time of the bubble pass.
func pass(d time.Duration) { <-time.After(d) }

func isLost(l *Lease) bool {
	select {
	case <-l.Lost():
		return true
	default:
		return false
	}
}

func TestHeldLeasesShareOneStreamAndFewMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newLeaseServer(t, 10*time.Second)
		for id := range int64(5000) {
			s.hold("a", id+1)
		}
		for range 600 {
			pass(100 * time.Millisecond)
			require.Zero(t, s.overdue())
		}
		require.Equal(t, 1, s.streams)
		require.Less(t, s.messages, 700, "a minute's, of 95,000 renewals")
	})
}

func TestLostLeaseIsToldAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newLeaseServer(t, 9*time.Second)
		revoked, other := s.hold("a", 1), s.hold("a", 2)
		ctx, cancel := revoked.Context(t.Context())
		defer cancel()
		require.NoError(t, ctx.Err())
		s.set(func() { delete(s.ends, 1) })
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), ErrLeaseNotFound)
		require.ErrorIs(t, revoked.Err(), ErrLeaseNotFound)
		require.True(t, isLost(revoked))
		require.False(t, isLost(other))
		require.NoError(t, other.Err())
		late, cancelLate := revoked.Context(t.Context())
		defer cancelLate()
		require.ErrorIs(t, context.Cause(late), ErrLeaseNotFound)
	})
}

// A server that is away for less than the TTL costs nothing; one that is away
// for longer, or that does not answer, costs the lease at its TTL's end: not
// before, because it may come back, and not after, because the lease may have
// another owner then.
func TestLeaseIsLostWhenItsTTLHasPassed(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*leaseServer, bool){
		"down":    func(s *leaseServer, on bool) { s.down = map[bool]error{true: errDown}[on] },
		"hanging": func(s *leaseServer, on bool) { s.hanging = on },
		"refusing": func(s *leaseServer, on bool) {
			s.failing["a"] = map[bool]error{true: refusal(flotillav1.Reason_REASON_NOT_LEADER)}[on]
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newLeaseServer(t, 10*time.Second)
				l := s.hold("a", 1)
				pass(20 * time.Second)
				for range 3 {
					s.set(func() { fail(s, true) })
					pass(5 * time.Second)
					s.set(func() { fail(s, false) })
					pass(10 * time.Second)
					require.NoError(t, l.Err())
					require.Zero(t, s.overdue())
				}
				s.set(func() { fail(s, true) })
				s.mu.Lock()
				end := s.ends[1]
				s.mu.Unlock()
				<-l.Lost()
				require.ErrorIs(t, l.Err(), ErrLeaseNotFound)
				require.False(t, time.Now().After(end), "the server counts from later on")
				require.WithinDuration(t, end, time.Now(), 10*time.Millisecond)
			})
		})
	}
}

// A client that does nothing but hold leases leaves an endpoint that does not renew them.
func TestTheEndpointOfRenewalsIsJudged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newLeaseServer(t, time.Minute)
		held := s.hold("a", 1)
		judged := func() (failed *Error) {
			pass(30 * time.Second)
			s.mu.Lock()
			defer s.mu.Unlock()
			errors.As(s.judged, &failed)
			return failed
		}
		require.Nil(t, judged())
		s.set(func() { s.failing["a"] = refusal(flotillav1.Reason_REASON_NOT_LEADER) })
		require.Equal(t, flotillav1.Reason_REASON_NOT_LEADER, judged().Reason)
		s.set(func() { delete(s.failing, "a") })
		require.Nil(t, judged())
		s.set(func() { s.hanging = true })
		require.Equal(t, connect.CodeDeadlineExceeded, judged().Code)
		s.set(func() { s.hanging = false })
		require.Nil(t, judged())
		require.False(t, isLost(held))
	})
}

func TestRefusedNamespaceDoesNotHarmTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newLeaseServer(t, 10*time.Second)
		s.failing["gone"] = refusal(flotillav1.Reason_REASON_NAMESPACE_NOT_FOUND)
		var others []*Lease
		bad := s.hold("gone", 100)
		for i := range int64(20) {
			others = append(others, s.hold(fmt.Sprint("ns", i), i+1))
		}
		<-bad.Lost()
		require.ErrorContains(t, bad.Err(), "refused", "why it could not be renewed")
		s.set(func() { delete(s.ends, 100) })
		pass(time.Minute)
		require.Zero(t, s.overdue())
		for _, l := range others {
			require.NoError(t, l.Err())
		}
	})
}

func TestReleasedLeaseIsNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newLeaseServer(t, 10*time.Second)
		released, held := s.hold("a", 1), s.hold("a", 2)
		pass(15 * time.Second)
		released.Release()
		require.True(t, isLost(released))
		require.NoError(t, released.Err())
		pass(11 * time.Second)
		require.Equal(t, 1, s.overdue())
		held.Release()
		synctest.Wait()
		again := s.hold("a", 3) // after the keeper had nothing to do
		pass(time.Minute)
		require.NoError(t, again.Err())
		require.Equal(t, 2, s.overdue())
	})
}

func TestClosedClientGivesItsLeasesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newLeaseServer(t, 10*time.Second)
		l := s.hold("a", 1)
		pass(5 * time.Second)
		s.set(func() { s.hanging = true })
		pass(3 * time.Second)
		s.keeper.close()
		require.True(t, isLost(l))
		require.ErrorIs(t, l.Err(), ErrClosed)
		_, err := (&Leases{client: &Client{keeper: s.keeper}}).hold(2, time.Second, time.Now())
		require.ErrorIs(t, err, ErrClosed)
		s.keeper.close()
	})
}
