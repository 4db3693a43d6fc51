// Package flotilla is the Go client of Flotilla.
//
//	client, err := flotilla.New(flotilla.Config{URL: "http://127.0.0.1:7700", APIKey: key})
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//	kv := client.Namespace("default").KV
//	put, err := kv.Put(ctx, "greeting", []byte("hello"), nil)
//	got, err := kv.Get(ctx, "greeting", nil)
//
// Calls take a context, what is required, and options that may be nil. A
// client is safe for concurrent use, and calls that are made at the same time
// travel together: a program should make one client and call it from as many
// goroutines as it likes.
//
// A key lives as long as its lease if it is written with one. Leases.Hold makes
// a lease that is kept alive by itself until the program ends or gives it up.
//
// KV.Watch shows changes as they happen, and goes on by itself where it was when
// the connection or the server fails.
//
// Every mutation carries a request id, so the client tries it again by itself
// when that is safe, until the context ends. Errors are told apart with
// errors.Is (ErrRevisionMismatch and its like) and errors.As (*Error,
// *CompactedError). OutcomeUnknown tells whether a failed mutation may have
// happened.
package flotilla
