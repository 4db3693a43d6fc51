package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// sorted are keys of the case without its prefix.
func (w *world) sorted(keys [][]byte) []string {
	var list []string
	for _, key := range keys {
		list = append(list, strings.TrimPrefix(string(key), w.prefix))
	}
	slices.Sort(list)
	return list
}

// watching is a watch that is to bring a number of events.
type watching struct {
	events clientv3.WatchChan
	count  int
}

// watchFrom begins a watch of the case's keys after a revision.
func (w *world) watchFrom(after int64, count int, opts ...clientv3.OpOption) watching {
	ctx := clientv3.WithRequireLeader(w.ctx)
	return watching{w.client.Watch(ctx, w.prefix, append(opts, clientv3.WithRev(after+1))...), count}
}

// noteEvents notes the events of a watch. How they are cut into answers is not
// compared, but each revision must come whole.
func (w *world) noteEvents(t *testing.T, watch watching) {
	t.Helper()
	var last int64
	for seen := 0; seen < watch.count; {
		response, ok := <-watch.events
		require.True(t, ok, "the watch ended after %d events", seen)
		require.NoError(t, response.Err())
		require.Greater(t, response.Events[0].Kv.GetModRevision(), last, "a revision is split")
		for _, event := range response.Events {
			require.GreaterOrEqual(t, event.Kv.GetModRevision(), last)
			last = event.Kv.GetModRevision()
			if seen == watch.count {
				break // what is beside these came early on one side
			}
			w.note("%s", w.text((*mvccpb.Event)(event).ProtoReflect()))
			seen++
		}
		require.GreaterOrEqual(t, response.Header.GetRevision(), last)
	}
}

// streamCase is a case on a stream of watches without anything between.
func streamCase(name string, run func(t *testing.T, w *world, s *rawStream)) testCase {
	return testCase{name: name, run: func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		stream, err := pb.NewWatchClient(w.client.ActiveConnection()).Watch(ctx)
		require.NoError(t, err)
		run(t, w, &rawStream{Watch_WatchClient: stream, w: w})
	}}
}

type rawStream struct {
	pb.Watch_WatchClient
	w *world
}

func (s *rawStream) create(t *testing.T, r *pb.WatchCreateRequest) {
	t.Helper()
	require.NoError(t, s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}))
}

func (s *rawStream) cancel(t *testing.T, id int64) {
	t.Helper()
	require.NoError(t, s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{
		CancelRequest: &pb.WatchCancelRequest{WatchId: id},
	}}))
}

func (s *rawStream) progress(t *testing.T) {
	t.Helper()
	require.NoError(t, s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{
		ProgressRequest: new(pb.WatchProgressRequest),
	}}))
}

// note notes so many answers.
func (s *rawStream) note(count int) {
	for range count {
		response, err := s.Recv()
		s.w.answer("answer", response, err)
	}
}

func (s *rawStream) all() *pb.WatchCreateRequest {
	return &pb.WatchCreateRequest{Key: s.w.bytes(""), RangeEnd: s.w.bytes("\xff")}
}

func watchCases() []testCase { return slices.Concat(historyCases(), liveCases(), requestCases()) }

// historyCases watch what has happened before.
func historyCases() []testCase {
	past := func(name string, count int, opts func(w *world) []clientv3.OpOption) testCase {
		return testCase{name: "past " + name, run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "b=2", "a=3")
			_, err := w.client.Delete(w.ctx, w.key("a"))
			require.NoError(t, err)
			_, err = w.client.Txn(w.ctx).Then(
				clientv3.OpPut(w.key("d"), "5"), clientv3.OpPut(w.key("a"), "6"), clientv3.OpDelete(w.key("b"))).Commit()
			require.NoError(t, err)
			w.noteEvents(t, w.watchFrom(w.base, count, append(opts(w), clientv3.WithPrefix())...))
		}}
	}
	with := func(opts ...clientv3.OpOption) func(*world) []clientv3.OpOption {
		return func(*world) []clientv3.OpOption { return opts }
	}
	return []testCase{
		past("", 7, with()),
		past("with previous values", 7, with(clientv3.WithPrevKV())),
		past("without puts", 2, with(clientv3.WithFilterPut())),
		past("without deletions", 5, with(clientv3.WithFilterDelete())),
		past("in fragments", 7, with(clientv3.WithFragment())),
		{name: "past of one key", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "b=2", "a=3", "ab=1")
			watch := w.client.Watch(w.ctx, w.key("a"), clientv3.WithRev(w.base+1))
			w.noteEvents(t, watching{watch, 2})
		}},
		{name: "past of a range", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "b=2", "c=3", "b=4")
			watch := w.client.Watch(w.ctx, w.key("b"), clientv3.WithRange(w.key("c")), clientv3.WithRev(w.base+1))
			w.noteEvents(t, watching{watch, 2})
		}},
		{name: "past with the previous value compacted", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "a=2", "a=3")
			call(w, "compact", w.compactRPC, &pb.CompactionRequest{Revision: w.base + 2})
			w.noteEvents(t, w.watchFrom(w.base+1, 2, clientv3.WithPrefix(), clientv3.WithPrevKV()))
		}},
		{name: "past that is compacted", run: func(t *testing.T, w *world) {
			w.put(t, "a=1", "a=2", "a=3")
			call(w, "compact", w.compactRPC, &pb.CompactionRequest{Revision: w.base + 3})
			response := <-w.client.Watch(w.ctx, w.key("a"), clientv3.WithRev(w.base+1))
			w.note("%s, compact revision %s, canceled %v", errorText(response.Err()), w.revision(response.CompactRevision), response.Canceled)
		}},
		{name: "past of many events", run: func(t *testing.T, w *world) {
			for i := range 500 {
				w.put(t, fmt.Sprintf("%d=%d", i%10, i))
			}
			w.noteEvents(t, w.watchFrom(w.base, 500, clientv3.WithPrefix(), clientv3.WithPrevKV()))
		}},
		{name: "past that goes on", run: func(t *testing.T, w *world) {
			w.put(t, "a=1")
			watch := w.watchFrom(w.base, 3, clientv3.WithPrefix())
			w.put(t, "a=2", "b=3")
			w.noteEvents(t, watch)
		}},
		{name: "future", run: func(t *testing.T, w *world) {
			watch := w.watchFrom(w.base+2, 2, clientv3.WithPrefix())
			w.put(t, "a=1", "b=2", "c=3", "d=4")
			w.noteEvents(t, watch)
		}},
	}
}

// liveCases watch what happens.
func liveCases() []testCase {
	live := func(name string, answers int, set func(r *pb.WatchCreateRequest)) testCase {
		return streamCase("live "+name, func(t *testing.T, w *world, s *rawStream) {
			w.put(t, "a=0")
			r := s.all()
			set(r)
			s.create(t, r)
			s.note(1)
			w.put(t, "a=1")
			_, err := w.client.Delete(w.ctx, w.key("a"))
			require.NoError(t, err)
			w.put(t, "b=2")
			s.noteEvents(t, answers)
		})
	}
	return []testCase{
		live("", 3, func(*pb.WatchCreateRequest) {}),
		live("with previous values", 3, func(r *pb.WatchCreateRequest) { r.PrevKv = true }),
		live("without puts", 1, func(r *pb.WatchCreateRequest) {
			r.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}
		}),
		live("without deletions", 2, func(r *pb.WatchCreateRequest) {
			r.Filters = []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}
		}),
		live("with a filter that is none", 3, func(r *pb.WatchCreateRequest) { r.Filters = []pb.WatchCreateRequest_FilterType{9} }),
		live("in fragments", 3, func(r *pb.WatchCreateRequest) { r.Fragment = true }),
		live("with an id", 3, func(r *pb.WatchCreateRequest) { r.WatchId = 77 }),
		streamCase("live events of a transaction", func(t *testing.T, w *world, s *rawStream) {
			s.create(t, s.all())
			s.note(1)
			_, err := w.client.Txn(w.ctx).Then(clientv3.OpPut(w.key("b"), "1"), clientv3.OpPut(w.key("a"), "2"), clientv3.OpDelete(w.key("c"))).Commit()
			require.NoError(t, err)
			s.note(1)
		}),
		streamCase("live and nothing changes", func(t *testing.T, w *world, s *rawStream) {
			s.create(t, s.all())
			s.note(1)
			_, err := w.client.Delete(w.ctx, w.key("nothing"))
			require.NoError(t, err)
			w.put(t, "a=1")
			s.note(1)
		}),
	}
}

// noteEvents notes so many events, however they are cut.
func (s *rawStream) noteEvents(t *testing.T, count int) {
	t.Helper()
	for count > 0 {
		response, err := s.Recv()
		require.NoError(t, err)
		for _, event := range response.GetEvents() {
			s.w.note("watch %d: %s", response.GetWatchId(), s.w.text(event.ProtoReflect()))
			count--
		}
	}
}

// requestCases are the requests of a stream themselves.
func requestCases() []testCase {
	refused := func(name string, set func(w *world, r *pb.WatchCreateRequest)) testCase {
		return streamCase("request "+name, func(t *testing.T, w *world, s *rawStream) {
			r := s.all()
			set(w, r)
			s.create(t, r)
			s.note(1)
			s.create(t, s.all()) // the stream goes on
			s.note(1)
		})
	}
	return []testCase{
		refused("a negative revision", func(_ *world, r *pb.WatchCreateRequest) { r.StartRevision = -1 }),
		refused("a range that ends before it starts", func(w *world, r *pb.WatchCreateRequest) { r.Key, r.RangeEnd = w.bytes("b"), w.bytes("a") }),
		refused("a range that ends where it starts", func(w *world, r *pb.WatchCreateRequest) { r.Key, r.RangeEnd = w.bytes("b"), w.bytes("b") }),
		refused("without a key", func(_ *world, r *pb.WatchCreateRequest) { r.Key, r.RangeEnd = nil, nil }),
		refused("of everything", func(_ *world, r *pb.WatchCreateRequest) { r.Key, r.RangeEnd = []byte{0}, []byte{0} }),
		refused("a far future", func(w *world, r *pb.WatchCreateRequest) { r.StartRevision = w.base + 1000 }),
		streamCase("request an id that is in use", func(t *testing.T, _ *world, s *rawStream) {
			r := s.all()
			r.WatchId = 5
			s.create(t, r)
			s.create(t, r)
			s.note(2)
		}),
		streamCase("request ids of both kinds", func(t *testing.T, _ *world, s *rawStream) {
			for _, id := range []int64{1, 0, 0, 0, 2} {
				r := s.all()
				r.WatchId = id
				s.create(t, r)
				s.note(1)
			}
		}),
		streamCase("request to cancel", func(t *testing.T, w *world, s *rawStream) {
			s.create(t, s.all())
			s.note(1)
			s.cancel(t, 0)
			s.note(1)
			w.put(t, "a=1")
			s.create(t, s.all())
			s.note(1)
		}),
		streamCase("request to cancel no watch", func(t *testing.T, _ *world, s *rawStream) {
			s.cancel(t, 12)
			s.create(t, s.all())
			s.note(1)
		}),
		streamCase("request nothing", func(t *testing.T, _ *world, s *rawStream) {
			require.NoError(t, s.Send(new(pb.WatchRequest)))
			s.create(t, s.all())
			s.note(1)
		}),
		streamCase("request progress", func(t *testing.T, w *world, s *rawStream) {
			s.create(t, s.all())
			s.note(1)
			w.put(t, "a=1")
			s.note(1)
			s.progress(t)
			s.note(1)
		}),
		streamCase("request progress of several", func(t *testing.T, _ *world, s *rawStream) {
			s.create(t, s.all())
			s.create(t, s.all())
			s.note(2)
			s.progress(t)
			s.note(1)
		}),
		streamCase("request progress of none", func(t *testing.T, _ *world, s *rawStream) {
			s.progress(t)
			s.create(t, s.all())
			s.note(1)
		}),
		streamCase("request to be told of progress", func(t *testing.T, w *world, s *rawStream) {
			r := s.all()
			r.ProgressNotify = true
			s.create(t, r)
			s.note(2)
		}),
		streamCase("request compacted history", func(t *testing.T, w *world, s *rawStream) {
			w.put(t, "a=1", "a=2", "a=3")
			call(w, "compact", w.compactRPC, &pb.CompactionRequest{Revision: w.base + 2})
			r := s.all()
			r.StartRevision = w.base + 1
			s.create(t, r)
			s.note(2)
			r.StartRevision = w.base + 2
			s.create(t, r)
			s.note(1)
			s.noteEvents(t, 2)
		}),
		streamCase("request several watches of one key", func(t *testing.T, w *world, s *rawStream) {
			s.create(t, s.all())
			s.create(t, &pb.WatchCreateRequest{Key: w.bytes("a"), PrevKv: true})
			s.note(2)
			w.put(t, "a=1")
			var got []string
			for range 2 {
				response, err := s.Recv()
				require.NoError(t, err)
				got = append(got, w.text(response.ProtoReflect()))
			}
			slices.Sort(got)
			w.note("%s", strings.Join(got, "\n"))
		}),
		streamCase("request no more", func(t *testing.T, w *world, s *rawStream) {
			s.create(t, s.all())
			s.note(1)
			require.NoError(t, s.CloseSend())
			w.put(t, "a=1")
			s.note(1)
		}),
	}
}
