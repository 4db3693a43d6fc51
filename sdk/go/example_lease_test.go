package flotilla_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// A worker registers itself for as long as it lives.
func ExampleLeases_Hold() {
	ctx, ns := context.Background(), wholeNamespace("hold")
	lease, err := ns.Leases.Hold(ctx, 10*time.Second, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := ns.KV.Put(ctx, "workers/7", []byte("10.0.0.7:80"), &flotilla.PutOptions{Lease: lease.ID()}); err != nil {
		fmt.Println(err)
		return
	}
	info, err := ns.Leases.Get(ctx, lease.ID(), &flotilla.GetLeaseOptions{Keys: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(info.GrantedTTL, info.Keys)

	if err := lease.Revoke(ctx); err != nil {
		fmt.Println(err)
		return
	}
	_, err = ns.KV.Get(ctx, "workers/7", nil)
	fmt.Println("gone with the lease:", errors.Is(err, flotilla.ErrKeyNotFound))
	// Output:
	// 10s [workers/7]
	// gone with the lease: true
}
