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
