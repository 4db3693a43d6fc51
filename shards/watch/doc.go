// Package watch brings the changes of namespaces to those who watch them.
//
//	apply goroutine          worker of a feed           caller of Stream.Next
//	Recorder → Hub ────────→ feed.queue → index ──────→ watcher.buffer → Answer
//	                              │ too much, or a gap          ↑
//	                              └────────→ history on disk ───┘
//
// A namespace that nobody watches costs nothing. One that is watched has a feed:
// the recorder notes what each batch changes while it is applied, and hands it
// over once it is readable (R2). A worker, which runs only while there is
// something to do, finds the watches that each event concerns by an index, and
// puts the event, which all share, into their buffers. Buffers are bounded, for
// each watch and for each tenant (T1): a watch that would have more falls behind,
// reads the history from where it is, page by page, and joins the feed again when
// it has caught up. So a slow watch delays nobody and holds no memory.
//
// What a front door does, with one goroutine for the requests that come in and
// one for the answers:
//
//	stream := watch.NewStream(watch.StreamConfig{})
//	defer stream.Close()
//	err := stream.Create(hub, owner, spec)      // or Cancel, Progress, ...
//
//	answers, err := stream.Next(ctx, answers[:0])
//	for _, a := range answers { ... }           // send each
//
// The events of a watch come in the order of their revisions, each once, none
// left out; those of one revision in one answer, unless fragments were asked for.
package watch
