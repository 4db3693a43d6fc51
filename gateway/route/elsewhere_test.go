package route_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/gateway/route"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// Callers are told who leads what this node does not, and not too often.
func TestLeadersElsewhereAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		var told []string
		p := route.NewKV(f.router(), fakeCatalog{}).NewPipeline(time.Second,
			func(*flotillav1.Operation, proto.Message, error) {}, func(context.Context) error { return nil })
		p.Elsewhere(func(namespace, node string) { told = append(told, namespace+" "+node) })
		ctx := asTenant(t.Context(), tenancy.FullAccess())
		run := func(ops ...*flotillav1.Operation) (news []string) {
			told = nil
			p.Start(ctx, ops)
			synctest.Wait()
			return told
		}
		require.Equal(t, []string{"default n2"}, run(put(1, "a"), put(2, "b"), get(3, "c")))
		require.Empty(t, run(put(4, "a")))
		<-time.After(time.Second)
		require.Equal(t, []string{"default n2"}, run(get(5, "a")), "one who was told may have forgotten it")
		f.set(func() { f.leader, f.believed = "n3", "n3" })
		require.Equal(t, []string{"default n3"}, run(put(6, "a")), "a new leader is told at once")

		<-time.After(time.Second)
		replica := get(7, "a")
		replica.GetGet().Serializable = true
		require.Empty(t, run(replica), "any node answers this one")
		f.set(func() { f.fail["n3"] = func() error { return errors.New("broken") } })
		require.Empty(t, run(put(8, "a")), "one who fails is recommended to nobody")
		f.set(func() { f.leader, f.believed = "n1", "n1" })
		require.Empty(t, run(put(9, "a")), "it is here")
		p.Wait()
	})
}
