package watch_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// A caller that asks and asks, and takes no answers, is heard no more after a
// few requests, whatever it asks.
func TestACallerThatTakesNoAnswersIsNotHeard(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		ask  func(c *client, n int)
	}{
		{"creates", func(c *client, _ int) { c.create(keySpec("a")) }},
		{"creates that are refused", func(c *client, _ int) { c.Refuse(0, tenancy.ErrPermissionDenied) }},
		{"cancels of nothing", func(c *client, n int) { c.Cancel(int64(n) + 1) }},
		{"progress of no watch", func(c *client, n int) { c.Progress(int64(n) + 1) }},
		{"progress of all watches, which are none", func(c *client, _ int) { c.ProgressAll() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, newShard(t, watch.Config{}), watch.StreamConfig{})
				ctx, cancel := context.WithCancelCause(t.Context())
				asked, ended := 0, make(chan error, 1)
				go func() {
					for {
						if err := c.Room(ctx); err != nil {
							ended <- err
							return
						}
						test.ask(c, asked)
						asked++
					}
				}()
				synctest.Wait()
				require.Equal(t, 16, asked)
				answers, err := c.Next(ctx, nil)
				require.NoError(t, err)
				require.Len(t, answers, 16)
				synctest.Wait()
				require.Equal(t, 32, asked, "it is heard again")
				gone := errors.New("the caller left")
				cancel(gone)
				require.ErrorIs(t, <-ended, gone)
			})
		})
	}
}

// What is asked of a stream that has ended is not answered, and holds nobody up.
func TestAStreamThatEndedAnswersNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, newShard(t, watch.Config{}), watch.StreamConfig{})
		why := errors.New("stopping")
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			for range 100 {
				if c.Room(t.Context()) != nil {
					return
				}
				c.Refuse(0, tenancy.ErrPermissionDenied)
				c.Cancel(1)
				c.ProgressAll()
			}
		}()
		synctest.Wait()
		c.End(why)
		<-asked
		answers, err := c.Next(t.Context(), nil)
		require.NoError(t, err)
		require.Less(t, len(answers), 20)
		_, err = c.Next(t.Context(), nil)
		require.ErrorIs(t, err, why)
	})
}
