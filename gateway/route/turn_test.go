package route_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// The operations that waited for a read outlive it.
func TestReadThatComesAfterAReadIsNotEndedWithIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		host := &fakeHost{}
		p := newPipeline(host)
		p.Start(asTenant(t.Context(), tenancy.FullAccess()), []*flotillav1.Operation{get(1, "a"), put(2, "a"), get(3, "a")})
		synctest.Wait()
		host.endRead()
		synctest.Wait()
		host.answerPut()
		synctest.Wait()
		require.Equal(t, []string{"get", "put a", "get"}, host.seen())
		host.endRead()
		p.Wait()
		require.ErrorIs(t, p.answered[3], errReadEnded)
	})
}

// Reads of single keys that come while others are on their way go together
// when one of these has ended.
func TestReadsGather(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		host := &fakeHost{}
		p := newPipeline(host)
		ctx := asTenant(t.Context(), tenancy.FullAccess())
		for i, key := range []string{"a", "b", "c", "d", "e"} {
			p.Start(ctx, []*flotillav1.Operation{get(uint64(i+1), key)})
			synctest.Wait()
		}
		require.Equal(t, []string{"get", "get"}, host.seen(), "c, d and e wait for a or b")
		host.endRead()
		synctest.Wait()
		require.Equal(t, []string{"get", "get", "get"}, host.seen(), "c, d and e share a read")
		host.endRead()
		host.endRead()
		p.Wait()
		require.Len(t, p.answered, 5)
	})
}
