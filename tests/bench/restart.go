package main

import (
	"context"
	"fmt"
)

// measureRestart ends each server as kill -9 does and times how soon a new
// process answers a read. What was written last must still be there.
func (b *bench) measureRestart(ctx context.Context, sides both[*side]) error {
	b.report.Restart = &both[restarted]{}
	for i, s := range sides.list() {
		key := keyName(0)
		revision, err := s.clients[0].Put(ctx, key, make([]byte, b.opts.valueBytes))
		if err != nil {
			return err
		}
		took, err := s.server.restart(ctx)
		if err != nil {
			return err
		}
		got, err := s.clients[0].Get(ctx, key, false)
		if err != nil {
			return fmt.Errorf("read %s after the restart: %w", s.name, err)
		}
		if got.revision != revision {
			return fmt.Errorf("%s lost a write: key %s is at revision %d, not %d", s.name, key, got.revision, revision)
		}
		u, err := s.server.usage()
		if err != nil {
			return err
		}
		*b.report.Restart.at(i) = restarted{Seconds: took.Seconds(), Memory: u.memory}
		b.progress.say("restart %s: %.2f s", s.name, took.Seconds())
	}
	return nil
}
