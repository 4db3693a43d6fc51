package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/gather"
	"github.com/flotillakv/flotilla/gateway/meter"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/machine"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

// A Pipeline runs independent operations side by side, as one connection or
// batch sends them. Single-key operations keep their order per key; nothing
// else is promised. Each operation is answered exactly once.
type Pipeline struct {
	kv      *KV
	timeout time.Duration
	emit    func(*flotillav1.Operation, proto.Message, error)
	room    func(context.Context) error
	// elsewhere is Elsewhere's.
	elsewhere func(namespace, node string)
	// reading holds a token for each group of reads that is being read.
	reading chan struct{}

	gathered *gather.Gatherer[readGroup, *operation]

	mu    sync.Mutex // guards what follows
	order *order
	led   ledElsewhere

	running sync.WaitGroup
}

// NewPipeline makes a pipeline whose answers go to emit, with a response or an
// error. Emit is called from several goroutines, also such that others wait
// for: it must not block. An operation that takes longer than the timeout is
// answered with an error.
//
// A few bytes may ask for many, so room is called before each read: it returns
// once there is room for one more answer, or why there will be none. Besides
// what it lets through, readsMax answers may be on their way.
func (kv *KV) NewPipeline(
	timeout time.Duration, emit func(*flotillav1.Operation, proto.Message, error), room func(context.Context) error,
) *Pipeline {
	return &Pipeline{
		kv: kv, timeout: timeout, emit: emit, room: room, order: newOrder(),
		reading: make(chan struct{}, readsMax), gathered: gather.New[readGroup, *operation](gatheredReadersMax, gatheredMax),
	}
}

// Elsewhere has tell called when operations on a namespace were brought to another
// node, which leads its shard: at most once a second for each node and namespace. Like
// emit it must not block. It is to be called before Start.
func (p *Pipeline) Elsewhere(tell func(namespace, node string)) { p.elsewhere = tell }

const (
	// readsMax bounds the groups of a pipeline that read at the same time.
	readsMax = 8
	// gatheredReadersMax is how many groups of single-key reads of one shard are
	// on their way at the same time. While they are, further reads gather: a
	// large group shares a round of Raft and an iterator, and goes through the
	// key space once.
	gatheredReadersMax = 2
	// gatheredMax is the most reads of one group.
	gatheredMax = 2048
)

// operation is one operation on its way.
type operation struct {
	admitted
	source   *flotillav1.Operation
	orderKey orderKey // its key is empty if the operation has no single key
	deadline time.Time

	// What follows is of writes. node is where it is brought, and encoded what is.
	node    string
	encoded []byte
	pacer   pacer
	refusal error // of the last attempt
	unknown error // of an attempt that may have been applied

	// place and again are the order's: its place among all operations, and whether
	// it was refused before.
	place uint64
	again bool
}

func (op *operation) isWrite() bool { return op.command != nil }

// Start brings operations on their way; answers come later. It must not be
// called any more once Wait was.
func (p *Pipeline) Start(ctx context.Context, sources []*flotillav1.Operation) {
	ready := make([]*operation, 0, len(sources))
	for _, source := range sources {
		op, err := p.admit(ctx, source)
		if err != nil {
			p.emit(source, nil, err)
			continue
		}
		p.running.Add(1) // until finish
		if op.isWrite() {
			op.node = p.kv.router.target(op.route.Shard)
		}
		if p.begin(op) {
			ready = append(ready, op)
		}
	}
	p.run(ctx, ready)
}

// Wait returns when every operation that was started is answered.
func (p *Pipeline) Wait() { p.running.Wait() }

// begin tells whether the operation may run now, or waits for others of its key.
func (p *Pipeline) begin(op *operation) bool {
	if op.orderKey.key == "" {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.order.begin(op)
}

func (p *Pipeline) admit(ctx context.Context, source *flotillav1.Operation) (*operation, error) {
	request, key := requestOf(source)
	if request == nil {
		return nil, &mvcc.InvalidError{Field: "operation", Message: "one of get, range, put, delete and txn must be set"}
	}
	principal, ok := tenancy.FromContext(ctx)
	if !ok {
		return nil, tenancy.ErrUnauthenticated
	}
	counted, err := p.kv.meter.AdmitEach(ctx, principal, 1, meter.RequestBytes(request))
	if err != nil {
		return nil, err
	}
	a, err := p.kv.prepare(ctx, principal, request, counted)
	if err != nil {
		return nil, err
	}
	return &operation{admitted: a, source: source, orderKey: orderKey{a.route.Namespace, string(key)}}, nil
}

// requestOf is an operation's request, and its key if it has a single one.
func requestOf(op *flotillav1.Operation) (req Request, key []byte) {
	switch o := op.GetOperation().(type) {
	case *flotillav1.Operation_Get:
		return o.Get, o.Get.GetKey()
	case *flotillav1.Operation_Put:
		return o.Put, o.Put.GetKey()
	case *flotillav1.Operation_Delete:
		return o.Delete, o.Delete.GetKey()
	case *flotillav1.Operation_Range:
		return o.Range, nil
	case *flotillav1.Operation_Txn:
		return o.Txn, nil
	default:
		return nil, nil
	}
}

// run brings operations on their way: writes into their shards' lines, reads of
// single keys to those of their shard, and ranges on a goroutine of their own,
// so that nothing waits for them.
func (p *Pipeline) run(ctx context.Context, ops []*operation) {
	var reads map[readGroup][]*operation
	deadline := time.Now().Add(p.timeout)
	for _, op := range ops {
		op.deadline = deadline
		group := readGroup{shard: op.route.Shard, consistency: op.consistency}
		switch {
		case op.isWrite():
			p.submit(ctx, op)
		case op.orderKey.key == "":
			go p.read(ctx, group, []*operation{op})
		default:
			if reads == nil {
				reads = make(map[readGroup][]*operation)
			}
			reads[group] = append(reads[group], op)
		}
	}
	for group, members := range reads {
		p.gathered.Add(group, func(ops []*operation) { p.read(ctx, group, ops) }, members...)
	}
}

func (p *Pipeline) submit(ctx context.Context, op *operation) {
	if op.encoded == nil {
		var err error
		if op.encoded, err = proto.Marshal(op.command); err != nil {
			p.finish(ctx, op, nil, fmt.Errorf("encode a command: %w", err))
			return
		}
	}
	call := &shards.Call{
		Tenant: op.tenant, Weight: op.weight, Command: op.encoded, Deadline: op.deadline,
		Done: func(r machine.Result) { p.answered(ctx, op, r) },
	}
	if err := p.kv.router.submit(op.node, op.route.Shard, call); err != nil {
		p.answered(ctx, op, machine.Result{Err: err})
	}
}

// answered takes the outcome of an attempt. One that was refused, and may be tried
// again, is, when those that run of its key are answered.
func (p *Pipeline) answered(ctx context.Context, op *operation, r machine.Result) {
	if _, old := errors.AsType[*machine.WrongEpochError](r.Err); old {
		p.kv.catalog.Forget(op.tenant, op.namespace) // the caller will come again
	}
	if isUnknown(r.Err) {
		op.unknown = r.Err
	}
	if r.Err == nil || !p.kv.router.mayRepeat(op.command, r.Err) {
		p.finish(ctx, op, r.Response, conclude(r.Err, op.unknown))
		return
	}
	op.refusal = conclude(r.Err, op.unknown)
	p.kv.router.refused(op.route.Shard, op.node, r.Err)
	if op.orderKey.key == "" {
		p.again(ctx, []*operation{op})
		return
	}
	p.mu.Lock()
	next := p.order.refuse(op)
	p.mu.Unlock()
	p.release(ctx, next)
}

// again brings writes on their way once more, in their order, after a pause.
func (p *Pipeline) again(ctx context.Context, ops []*operation) {
	wait := ops[0].pacer.next(false)
	time.AfterFunc(wait, func() {
		node := p.kv.router.target(ops[0].route.Shard)
		now := time.Now()
		for _, op := range ops {
			if ctx.Err() != nil || now.After(op.deadline) {
				p.finish(ctx, op, nil, op.refusal)
				continue
			}
			op.node = node
			p.submit(ctx, op)
		}
	})
}

// readGroup is what reads must have in common to share a state.
type readGroup struct {
	shard       shards.ShardID
	consistency shards.Consistency
}

func (p *Pipeline) read(ctx context.Context, group readGroup, ops []*operation) {
	// Operations that waited for these go on with ctx: they may take longer.
	reading, cancel := context.WithDeadline(ctx, slices.MinFunc(ops, func(a, b *operation) int {
		return a.deadline.Compare(b.deadline)
	}).deadline)
	defer cancel()
	// In the order of the key space each look-up goes on from where the one
	// before it ended.
	slices.SortFunc(ops, func(a, b *operation) int {
		return cmp.Or(cmp.Compare(a.route.Namespace, b.route.Namespace), cmp.Compare(a.orderKey.key, b.orderKey.key))
	})
	batch := shards.QueryBatch{
		Tenant: ops[0].tenant, Consistency: group.consistency, Queries: make([]shards.Query, len(ops)),
		Begin: p.beginReading, Room: func(ctx context.Context, _ int) error { return p.room(ctx) },
		Emit: func(i int, response proto.Message, err error) { p.finish(ctx, ops[i], response, err) },
	}
	for i, op := range ops {
		batch.Queries[i] = op.query()
	}
	err := p.kv.router.QueryBatch(reading, group.shard, &batch)
	if err == nil {
		return
	}
	for i, op := range ops {
		if !batch.Answered(i) {
			p.finish(ctx, op, nil, err)
		}
	}
}

// beginReading waits until one more group may be read.
func (p *Pipeline) beginReading(ctx context.Context) (end func(), err error) {
	select {
	case p.reading <- struct{}{}:
		return func() { <-p.reading }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait to read: %w", ctx.Err())
	}
}

// finish answers an operation and runs those that waited for it.
func (p *Pipeline) finish(ctx context.Context, op *operation, response proto.Message, err error) {
	op.answered(response, err)
	if err == nil && p.elsewhere != nil && op.consistency != shards.Serializable {
		p.tellElsewhere(op)
	}
	p.emit(op.source, response, err)
	if op.orderKey.key != "" {
		p.mu.Lock()
		next := p.order.end(op)
		p.mu.Unlock()
		p.release(ctx, next)
	}
	p.running.Done()
}

// release runs what waited for others of its key.
func (p *Pipeline) release(ctx context.Context, next released) {
	for {
		for _, op := range next.dropped {
			p.finish(ctx, op, nil, op.refusal)
		}
		if len(next.again) > 0 {
			p.again(ctx, next.again)
		}
		if len(next.run) == 0 {
			return
		}
		key, node := next.run[0].orderKey, ""
		if next.run[0].isWrite() { // to one node, see order
			node = p.kv.router.target(next.run[0].route.Shard)
			for _, op := range next.run {
				op.node = node
			}
		}
		p.run(ctx, next.run)
		p.mu.Lock()
		next = p.order.submitted(key, node)
		p.mu.Unlock()
	}
}
