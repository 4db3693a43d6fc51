package shards

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/shards/fair"
	"github.com/flotillakv/flotilla/tenancy"
)

// turns keeps reads that visit many keys from taking all processors: such a long
// read needs a turn, and waits in line for one. What a read will visit cannot be
// told from its request: a range may hold three keys or a million, and a limit says
// nothing of what is deleted in it. So each begins without, and has to have a turn
// when it has visited as much as short reads may: when it asks for the shortAsks-th
// time whether to go on (mvcc.ReadLimits.Interrupted). If none is free it ends, which
// wastes less than a millisecond, and begins anew with one. Short reads never wait.
//
//	U1: at most max reads have a turn, and at most one of each tenant.
//	U2: a tenant's reads get their turns in the order in which they came, and
//	    tenants that wait get theirs one after the other. So a tenant's read waits
//	    for one long read of each other tenant, whatever these ask.
//	U3: a tenant has a line exactly while it has a turn or waits for one.
type turns struct {
	max int

	mu    sync.Mutex
	taken int
	lines map[tenancy.TenantID]*turnLine
	// ready are the lines that wait and have no turn, in the order in which they
	// get one. It is empty while turns are free.
	ready   list.List // of *turnLine
	waiting int       // reads in all lines
}

// turnLine is the long reads of one tenant.
type turnLine struct {
	tenant tenancy.TenantID
	// reads are those that wait, each a chan struct{} that is closed when its turn
	// comes.
	reads list.List
	// ready is the line's place among those that are ready; nil while one of its
	// reads has a turn.
	ready *list.Element
}

// Of the long reads that wait at the same time, turnsLineMax may be of one tenant,
// and turnsWaitingMax of all. A tenant of which some wait may have as many as its
// fair.Share of what is left free, so that many tenants with long lines leave places
// for others.
const (
	turnsLineMax    = 512
	turnsWaitingMax = 8192
)

// turnRetryAfter is when a read that found no place in line may be tried again.
const turnRetryAfter = 200 * time.Millisecond

func newTurns(most int) *turns {
	return &turns{max: most, lines: make(map[tenancy.TenantID]*turnLine)}
}

// shortAsks is how often a short read asks whether to go on.
const shortAsks = 8

// errLong says that a read turned out to be long, and found no turn.
var errLong = errors.New("the read needs a turn")

// readFunc reads. It asks interrupted from time to time, and ends with its error.
type readFunc func(interrupted func() error) (proto.Message, error)

// briefly reads without a turn, and takes one when the read turns out to be long. If
// none is free then, its error is errLong.
func (t *turns) briefly(ctx context.Context, tenant tenancy.TenantID, read readFunc) (proto.Message, error) {
	taken, asks := false, 0
	defer func() {
		if taken {
			t.end(tenant)
		}
	}()
	return read(func() error {
		if taken {
			giveWay(ctx)
			return ctx.Err()
		}
		runtime.Gosched() // a read that may be short gives way, and does not rest
		if asks++; asks < shortAsks || ctx.Err() != nil {
			return ctx.Err()
		}
		if taken = t.try(tenant); !taken {
			return errLong
		}
		return nil
	})
}

// atLength waits for a turn, and reads. Errors are those of the read, that ctx ended,
// and a *BusyError for the shard.
func (t *turns) atLength(ctx context.Context, tenant tenancy.TenantID, shard ShardID, read readFunc) (proto.Message, error) {
	if err := t.take(ctx, tenant, shard); err != nil {
		return nil, err
	}
	defer t.end(tenant)
	return read(func() error {
		giveWay(ctx)
		return ctx.Err()
	})
}

// A long read that gives way is told by how long it takes to come back whether others
// want the processor: from crowdedAfter on it stays away as long again, up to restMax.
const (
	crowdedAfter = 100 * time.Microsecond
	restMax      = 5 * time.Millisecond
)

// giveWay lets those go first who have waited for the processor.
func giveWay(ctx context.Context) {
	start := time.Now()
	runtime.Gosched()
	if away := time.Since(start); away > crowdedAfter {
		select {
		case <-time.After(min(away, restMax)):
		case <-ctx.Done():
		}
	}
}

// try takes a turn if one is free.
func (t *turns) try(tenant tenancy.TenantID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken >= t.max || t.lines[tenant] != nil {
		return false
	}
	t.lines[tenant] = &turnLine{tenant: tenant}
	t.taken++
	return true
}

// take waits for a turn. Then end must be called.
func (t *turns) take(ctx context.Context, tenant tenancy.TenantID, shard ShardID) error {
	if t.try(tenant) {
		return nil
	}
	line, read, err := t.join(tenant, shard)
	if err != nil {
		return err
	}
	granted, _ := read.Value.(chan struct{})
	select {
	case <-granted:
		return nil
	case <-ctx.Done():
		t.leave(line, read)
		return fmt.Errorf("wait for a long read's turn: %w", context.Cause(ctx))
	}
}

// join adds a read to its tenant's line.
func (t *turns) join(tenant tenancy.TenantID, shard ShardID) (*turnLine, *list.Element, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := t.lines[tenant]
	if !t.room(line) {
		return nil, nil, &BusyError{Shard: shard, Queue: "long reads", RetryAfter: turnRetryAfter}
	}
	if line == nil {
		line = &turnLine{tenant: tenant}
		line.ready = t.ready.PushBack(line)
		t.lines[tenant] = line
	}
	read := line.reads.PushBack(make(chan struct{}))
	t.waiting++
	t.grant() // a turn may have become free
	return line, read, nil
}

// room tells whether one more read may wait in a line, nil for a tenant without. It
// needs mu.
func (t *turns) room(line *turnLine) bool {
	waiting := 0
	if line != nil {
		waiting = line.reads.Len()
	}
	return fair.Fits(waiting, 1, t.waiting, turnsLineMax, turnsWaitingMax)
}

// leave takes a read out of its line that waits no more, or gives its turn back if
// that has come.
func (t *turns) leave(line *turnLine, read *list.Element) {
	t.mu.Lock()
	defer t.mu.Unlock()
	granted, _ := read.Value.(chan struct{})
	select {
	case <-granted:
		t.release(line)
		return
	default:
	}
	line.reads.Remove(read)
	t.waiting--
	if line.reads.Len() == 0 && line.ready != nil {
		t.ready.Remove(line.ready)
		delete(t.lines, line.tenant)
	}
}

// end gives a turn back.
func (t *turns) end(tenant tenancy.TenantID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(t.lines[tenant])
}

// release takes a line its turn, and gives it to the one that is next. It needs mu.
func (t *turns) release(line *turnLine) {
	t.taken--
	if line.reads.Len() == 0 {
		delete(t.lines, line.tenant)
	} else {
		line.ready = t.ready.PushBack(line)
	}
	t.grant()
}

// count is how many reads have a turn, and how many wait for one.
func (t *turns) count() (running, waiting int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.taken, t.waiting
}

// grant gives out the turns that are free. It needs mu.
func (t *turns) grant() {
	for t.taken < t.max && t.ready.Len() > 0 {
		line, _ := t.ready.Remove(t.ready.Front()).(*turnLine)
		line.ready = nil
		granted, _ := line.reads.Remove(line.reads.Front()).(chan struct{})
		t.taken++
		t.waiting--
		close(granted)
	}
}
