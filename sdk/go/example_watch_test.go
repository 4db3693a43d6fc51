package flotilla_test

import (
	"context"
	"errors"
	"fmt"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

func ExampleKV_Watch() {
	ctx, kv := context.Background(), namespace("watch")
	// Read the configuration as it is ...
	put, err := kv.Put(ctx, "config/color", []byte("blue"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	// ... while somebody changes it ...
	_, _ = kv.Put(ctx, "config/color", []byte("green"), nil)
	_, _ = kv.Put(ctx, "other", []byte("not watched"), nil)
	_, _ = kv.Delete(ctx, "config/color", nil)

	// ... and follow it from there: nothing is missed.
	opts := &flotilla.WatchOptions{From: put.Revision + 1, PrevKV: true}
	for event, err := range kv.Watch(ctx, flotilla.Prefix("config/"), opts) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if event.Deleted {
			fmt.Printf("%s deleted, was %s\n", event.KV.Key, event.PrevKV.Value)
			break
		}
		fmt.Printf("%s is %s, was %s\n", event.KV.Key, event.KV.Value, event.PrevKV.Value)
	}
	// Output:
	// config/color is green, was blue
	// config/color deleted, was green
}

func ExampleKV_WatchBatches() {
	ctx, kv := context.Background(), namespace("watch-batches")
	_, _ = kv.Put(ctx, "a", []byte("1"), nil)
	last, _ := kv.Put(ctx, "a", []byte("2"), nil)
	if err := kv.Compact(ctx, last.Revision); err != nil {
		fmt.Println(err)
		return
	}
	// A program that was away for too long is told from where it can go on.
	from := uint64(2)
	for {
		for batch, err := range kv.WatchBatches(ctx, flotilla.AllKeys(), &flotilla.WatchOptions{From: from}) {
			if compacted, ok := errors.AsType[*flotilla.CompactedError](err); ok {
				fmt.Println("compacted: read all keys again, then go on after revision", compacted.CompactRevision)
				from = compacted.CompactRevision + 1
				_, _ = kv.Txn(ctx, flotilla.Txn{Then: []flotilla.Op{
					flotilla.OpPut("a", []byte("3"), nil), flotilla.OpPut("b", []byte("3"), nil),
				}})
				break
			}
			if err != nil {
				fmt.Println(err)
				return
			}
			if len(batch.Events) > 0 {
				fmt.Println(len(batch.Events), "changes at revision", batch.Revision)
				return
			}
		}
	}
	// Output:
	// compacted: read all keys again, then go on after revision 3
	// 2 changes at revision 4
}
