package peer

import (
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
)

// encodeWatchAnswer is an answer as it travels. It shares the events' bytes.
func encodeWatchAnswer(a *watch.Answer) *internalv1.WatchAnswer {
	p := &internalv1.WatchAnswer{
		WatchId: a.WatchID, All: a.All, Created: a.Created, Canceled: a.Canceled, Resume: uint64(a.Resume),
		Revision: uint64(a.Revision), Latest: uint64(a.Latest), Fragment: a.Fragment, PrevKv: a.PrevKV,
	}
	if a.Err != nil {
		p.Error = encodeError(a.Err)
	}
	if len(a.Events) > 0 {
		p.Events = make([]*flotillav1.Event, len(a.Events))
		for i, e := range a.Events {
			p.Events[i] = watch.EventProto(e, a.PrevKV)
		}
	}
	return p
}

// decodeWatchAnswer is the answer that traveled. It shares the message's bytes.
func decodeWatchAnswer(node string, p *internalv1.WatchAnswer) watch.Answer {
	a := watch.Answer{
		WatchID: p.GetWatchId(), All: p.GetAll(), Created: p.GetCreated(), Canceled: p.GetCanceled(), Resume: mvcc.Revision(p.GetResume()),
		Revision: mvcc.Revision(p.GetRevision()), Latest: mvcc.Revision(p.GetLatest()), Fragment: p.GetFragment(), PrevKV: p.GetPrevKv(),
	}
	if p.GetError() != nil {
		a.Err = decodeError(node, p.GetError())
	}
	for _, e := range p.GetEvents() {
		a.Events = append(a.Events, watch.EventFrom(e))
	}
	return a
}

// encodeSpec is a watch as it travels.
func encodeSpec(spec *watch.Spec) *internalv1.WatchBegin {
	return &internalv1.WatchBegin{
		WatchId: spec.ID, Start: spec.Start, End: spec.End, From: uint64(spec.From), PrevKv: spec.PrevKV,
		NoPut: spec.NoPut, NoDelete: spec.NoDelete, Fragment: spec.Fragment, Progress: spec.Progress,
	}
}

// decodeSpec is the watch that traveled.
func decodeSpec(p *internalv1.WatchBegin) watch.Spec {
	return watch.Spec{
		ID: p.GetWatchId(), Start: p.GetStart(), End: p.GetEnd(), From: mvcc.Revision(p.GetFrom()), PrevKV: p.GetPrevKv(),
		NoPut: p.GetNoPut(), NoDelete: p.GetNoDelete(), Fragment: p.GetFragment(), Progress: p.GetProgress(),
	}
}
