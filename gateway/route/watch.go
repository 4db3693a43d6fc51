package route

import (
	"context"

	"github.com/flotillakv/flotilla/gateway/meter"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// Watches are the watches of one caller, on one stream of answers. All front
// doors share it:
//
//	watches := kv.NewWatches(ctx, watch.StreamConfig{StillValid: ...})
//	defer watches.Close()
//	// one goroutine, as requests come in; the answers keep their order:
//	err := watches.Room(ctx) // before each
//	watches.Create(ctx, &flotillav1.WatchCreate{...})
//	watches.Cancel(id)
//	watches.Progress(id) // 0 is all
//	// another:
//	for {
//		answers, err := watches.Next(ctx, answers[:0])
//		...
//	}
//
// See watch.Answer for what the answers are. A request that cannot be done is
// answered so, and the stream goes on.
type Watches struct {
	kv *KV
	*watching
	counted counted
}

// NewWatches makes a stream of watches, which must be closed. What runs for them
// ends with ctx too.
func (kv *KV) NewWatches(ctx context.Context, cfg watch.StreamConfig) *Watches {
	return &Watches{kv: kv, watching: kv.router.newWatching(ctx, cfg)}
}

// Create begins a watch for the principal of ctx. It is answered with Created,
// or with Created and Canceled and the error that refused it.
func (w *Watches) Create(ctx context.Context, req *flotillav1.WatchCreate) {
	if err := w.CreateOne(ctx, req); err != nil {
		w.stream.Refuse(req.GetWatchId(), err)
	}
}

// CreateOne begins a watch like Create; what refuses it is returned, and is no
// answer.
func (w *Watches) CreateOne(ctx context.Context, req *flotillav1.WatchCreate) error {
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return tenancy.ErrUnauthenticated
	}
	operation, err := w.kv.meter.Admit(ctx, principal, 1, meter.RequestBytes(req))
	if err != nil {
		return err
	}
	w.counted.begin(operation)
	namespace := req.GetNamespace()
	if namespace == "" {
		namespace = tenancy.DefaultNamespace
	}
	if err := tenancy.ValidateName("namespace", namespace); err != nil {
		return err
	}
	spec, err := specOf(req, &principal.Limits)
	if err != nil {
		return err
	}
	if err := principal.Check(tenancy.ActionWatch, namespace, tenancy.Span{Start: spec.Start, End: spec.End}); err != nil {
		return err
	}
	route, err := w.kv.catalog.Route(ctx, principal.Tenant, namespace)
	if err != nil {
		return err
	}
	defer w.counted.watches(w.Len)
	return w.create(ctx, route.Shard, watch.Owner{
		Tenant: principal.Tenant, WatchesMax: principal.Limits.WatchesMax, StreamsMax: principal.Limits.WatchStreamsMax,
		Namespace: route.Namespace,
	}, spec)
}

// Len is how many watches there are.
func (w *Watches) Len() int { return w.stream.Watches() }

// specOf is a request as the shard understands it.
func specOf(req *flotillav1.WatchCreate, limits *tenancy.Limits) (watch.Spec, error) {
	if err := mvcc.CheckWatch(req, mvcc.Limits{KeyBytesMax: limits.KeyBytesMax}); err != nil {
		return watch.Spec{}, err
	}
	spec := watch.Spec{
		ID: req.GetWatchId(), From: mvcc.Revision(req.GetStartRevision()), PrevKV: req.GetPrevKv(),
		NoPut: req.GetNoPut(), NoDelete: req.GetNoDelete(), Fragment: req.GetFragment(), Progress: req.GetProgressNotify(),
	}
	if target, ok := req.GetTarget().(*flotillav1.WatchCreate_Key); ok {
		only := tenancy.OneKey(target.Key)
		spec.Start, spec.End = only.Start, only.End
		return spec, nil
	}
	spec.Start, spec.End, _ = mvcc.Bounds(req.GetRange())
	return spec, nil
}

// Refuse answers a request to create a watch with an error, in its place among
// the answers: for what a front door itself cannot do.
func (w *Watches) Refuse(id int64, err error) { w.stream.Refuse(id, err) }

// Room waits until one more request may be carried out: see watch.Stream. Front
// doors call it before they read each, if they read many.
func (w *Watches) Room(ctx context.Context) error { return w.stream.Room(ctx) }

// Cancel ends a watch. It is answered with Canceled; if there is no such watch,
// with watch.ErrWatchNotFound.
func (w *Watches) Cancel(id int64) { w.stop(id) }

// Progress asks how far a watch came, 0 for all of the stream: see watch.Answer.
// The answer comes when all that happened before was given out.
func (w *Watches) Progress(id int64) {
	if id == 0 {
		w.stream.ProgressAll()
		return
	}
	w.tell(id)
}

// End ends all watches with an error, such as shards.ErrStopping. Next gives out
// what they have to say about it, and then the error.
func (w *Watches) End(err error) { w.stream.End(err) }

// Close frees the watches. Nobody may call Next any more.
func (w *Watches) Close() {
	w.close()
	w.counted.watches(func() int { return 0 })
}

// Next waits for answers and appends them to dst. It is for one goroutine. Its
// error is that of End, or of a credential that holds no more, once the watches
// have told so themselves, or that of ctx.
func (w *Watches) Next(ctx context.Context, dst []watch.Answer) ([]watch.Answer, error) {
	had := len(dst)
	answers, err := w.next(ctx, dst)
	if len(answers) > had {
		w.counted.tell(answers[had:])
		w.counted.watches(w.Len)
	}
	return answers, err
}
