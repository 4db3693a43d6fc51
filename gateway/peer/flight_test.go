package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/fair"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/tenancy"
)

var errBroken = errors.New("the stream broke")

// wire is a stream that takes what is written, unless send says otherwise.
type wire struct {
	grpc.ClientStream
	send func() error
}

func (*wire) Recv() (*internalv1.ExchangeResponse, error) { return nil, errBroken }
func (*wire) CloseSend() error                            { return nil }
func (*wire) Context() context.Context                    { return context.Background() }
func (w *wire) Send(_ *internalv1.ExchangeRequest) error  { return w.send() }

// flown is a link without a node: the test is its sender, and its receiver.
type flown struct {
	*link
	t        *rapid.T
	writer   *writer
	sessions []*session
	flights  map[*flight]bool
	sent     map[tenancy.TenantID]int // the number of the last command that was written
	pushed   int
	calls    []*shards.Call // that may be canceled
	answered map[int]int    // how often each command was
	canceled int            // commands
	groups   []*group
}

func newFlown(t *rapid.T) *flown {
	cfg := (&PoolConfig{
		InFlightMax: rapid.IntRange(1, 60).Draw(t, "in flight"), InFlightBytesMax: rapid.IntRange(1, 60_000).Draw(t, "bytes in flight"),
		Queue: fair.Config{Quantum: 500},
	}).withDefaults()
	f := &flown{
		t: t, link: &link{cfg: &cfg, node: "n", queue: fair.New[tenancy.TenantID, *operation](cfg.Queue, tenancy.SystemTenant), sweeping: true},
		flights: make(map[*flight]bool), sent: make(map[tenancy.TenantID]int), answered: make(map[int]int),
	}
	f.changed.L, f.flight = &f.mu, newFlight(&cfg)
	f.writer = &writer{link: f.link}
	return f
}

// push puts an operation in a line: a command, or a group of queries.
func (f *flown) push(t *rapid.T) {
	tenant := rapid.SampledFrom([]tenancy.TenantID{"a", "b", "c", "d", tenancy.SystemTenant}).Draw(t, "tenant")
	f.pushed++
	number := f.pushed
	op := &operation{shard: shards.ShardID(number), tenant: tenant, deadline: time.Now().Add(time.Hour)}
	if rapid.Bool().Draw(t, "queries") {
		batch := &shards.QueryBatch{Emit: func(int, proto.Message, error) {}}
		op.group = newGroup(batch)
		for i := range rapid.IntRange(1, 20).Draw(t, "how many") {
			batch.Queries = append(batch.Queries, shards.Query{})
			op.group.add(i, &internalv1.PeerQuery{}, 100)
		}
		op.bytes = op.group.bytes
		f.groups = append(f.groups, op.group)
	} else {
		command := make([]byte, rapid.IntRange(0, 20_000).Draw(t, "bytes"))
		op.call = &shards.Call{Tenant: tenant, Command: command, Done: func(machine.Result) { f.answered[number]++ }}
		op.bytes = op.call.Cost()
		f.calls = append(f.calls, op.call)
		if rapid.IntRange(0, 20).Draw(t, "late") == 0 {
			op.deadline = time.Now()
		}
	}
	require.NoError(t, f.link.push(op))
}

// write is a turn of link.send.
func (f *flown) write(t *rapid.T) {
	f.mu.Lock()
	f.flights[f.flight] = true
	ops := f.queue.TakeIf(f.writer.ops[:0], rapid.IntRange(1, 30).Draw(t, "of a message"), messageBytes, f.flight.begin)
	f.mu.Unlock()
	if len(ops) == 0 {
		return
	}
	if f.session == nil && rapid.IntRange(0, 9).Draw(t, "down") == 0 {
		endAll(ops, errBroken)
		f.landed(ops)
		f.leaveSession()
		f.failWaiting(errBroken)
		return
	}
	if f.session == nil {
		s := &session{
			node: "n", cancel: func(error) {}, wake: f.wake, landed: f.landed, pending: make(map[uint64]*operation), heard: time.Now(),
		}
		s.stream = &wire{send: func() error {
			switch rapid.IntRange(0, 30).Draw(f.t, "breaks") {
			case 0:
				s.end(errBroken) // it was written, maybe
			case 1:
				s.end(errBroken)
				return errBroken
			case 2:
				return errBroken
			}
			return nil
		}}
		f.session = s
		f.sessions = append(f.sessions, s)
	}
	f.noteOrder(ops)
	if err := f.writer.write(f.session, ops); err != nil {
		f.leaveSession()
		f.failWaiting(err)
	}
}

// noteOrder sees that each tenant's operations go in their order (E2).
func (f *flown) noteOrder(ops []*operation) {
	for _, op := range ops {
		require.Greater(f.t, int(op.shard), f.sent[op.tenant])
		f.sent[op.tenant] = int(op.shard)
	}
}

// answer answers some of what a session was asked.
func (f *flown) answer(t *rapid.T, s *session, most int) {
	message := &internalv1.ExchangeResponse{}
	for _, id := range slices.Sorted(maps.Keys(s.pending)) {
		if most--; most < 0 {
			break
		}
		queries := 1
		if op := s.pending[id]; op.call == nil {
			queries = rapid.IntRange(1, op.count()).Draw(t, "queries answered")
		}
		for i := range queries {
			message.Answers = append(message.Answers, &internalv1.PeerAnswer{
				Id: id, Query: uint32(i), Answer: &internalv1.PeerAnswer_Get{Get: &flotillav1.GetResponse{}},
			})
		}
	}
	s.landed(s.answers(message, nil))
}

func (f *flown) sessionOf(t *rapid.T) *session {
	if len(f.sessions) == 0 {
		t.Skip("there is none")
	}
	return rapid.SampledFrom(f.sessions).Draw(t, "session")
}

// check holds the counts against what is asked and not answered.
func (f *flown) check(t *rapid.T) {
	f.flights[f.flight] = true
	operations, bytes := map[*flight]int{}, map[*flight]int{}
	byTenant := map[tenancy.TenantID]int{}
	for _, s := range f.sessions {
		for _, op := range s.pending {
			operations[op.flight] += op.count()
			bytes[op.flight] += op.bytes
			if op.flight == f.flight {
				byTenant[op.tenant] += op.count()
			}
		}
	}
	for flight := range f.flights {
		require.Equal(t, operations[flight], flight.operations.Used())
		require.Equal(t, bytes[flight], flight.bytes.Used())
	}
	if f.queue.Len() > 0 && !f.queue.Ready() {
		require.Positive(t, f.flight.operations.Used(), "what waits, waits for something (L2)")
	}
	for tenant, n := range byTenant {
		require.LessOrEqual(t, n, max(20, f.cfg.InFlightMax/4), "%q: one operation of any size, or its part", tenant)
	}
}

// Whatever is submitted, canceled, late, answered, broken and begun anew, and in
// whatever order: what is in flight is counted exactly, a line waits only while
// something is in flight, each command is answered once, and in the end all is zero.
func TestWhatIsInFlightIsCounted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := newFlown(t)
		t.Repeat(map[string]func(*rapid.T){
			"push":    f.push,
			"push on": f.push,
			"write":   f.write,
			"answer":  func(t *rapid.T) { f.answer(t, f.sessionOf(t), rapid.IntRange(1, 20).Draw(t, "answers")) },
			"cancel": func(t *rapid.T) {
				if len(f.calls) > 0 && rapid.SampledFrom(f.calls).Draw(t, "call").Cancel() {
					f.canceled++
				}
				if len(f.groups) > 0 {
					rapid.SampledFrom(f.groups).Draw(t, "group").end(context.Canceled)
				}
			},
			"sweep":   func(t *rapid.T) { f.sessionOf(t).sweep(time.Now().Add(2 * time.Hour)) },
			"break":   func(t *rapid.T) { f.sessionOf(t).end(errBroken) },
			"forsake": func(*rapid.T) { f.leaveSession() },
			"":        f.check,
		})
		for f.queue.Len() > 0 || slices.ContainsFunc(f.sessions, func(s *session) bool { return len(s.pending) > 0 }) {
			f.write(t)
			for _, s := range f.sessions {
				f.answer(t, s, 100)
			}
			f.check(t)
		}
		for flight := range f.flights {
			require.Zero(t, flight.operations.Used()+flight.bytes.Used())
		}
		for number, times := range f.answered {
			require.Equal(t, 1, times, "command %d", number)
		}
		require.Len(t, f.answered, len(f.calls)-f.canceled)
	})
}

// Of all lines that are aside, that of a tenant whose operation is over goes on, be it
// the last one of many.
func TestWhoIsAnsweredGoesOn(t *testing.T) {
	t.Parallel()
	cfg := PoolConfig{InFlightMax: 200}.withDefaults()
	l := &link{cfg: &cfg, queue: fair.New[tenancy.TenantID, *operation](cfg.Queue, tenancy.SystemTenant), sweeping: true, flight: newFlight(&cfg)}
	l.changed.L = &l.mu
	const tenants = 400
	for range 60 {
		for i := range tenants {
			call := &shards.Call{Tenant: tenancy.TenantID(fmt.Sprint(i))}
			_ = l.push(&operation{tenant: call.Tenant, call: call, bytes: call.Cost()}) // or its line is full
		}
	}
	gone := l.queue.TakeIf(nil, 1<<20, 1<<30, l.flight.begin)
	require.False(t, l.queue.Ready(), "all are aside")
	for i := len(gone) - 1; i > len(gone)-20; i-- { // they have one in flight each
		l.landed(gone[i : i+1])
		next := l.queue.TakeIf(nil, 1<<20, 1<<30, l.flight.begin)
		require.Len(t, next, 1)
		require.Equal(t, gone[i].tenant, next[0].tenant)
	}
}
