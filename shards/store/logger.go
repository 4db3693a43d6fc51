package store

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// engineLogger passes Pebble's log on. Its information is detail for us.
type engineLogger struct{ store *Store }

// Infof implements pebble.Logger.
func (l *engineLogger) Infof(format string, args ...any) {
	l.store.log.Debug("storage engine", slog.String("text", fmt.Sprintf(format, args...)))
}

// Errorf implements pebble.Logger.
func (l *engineLogger) Errorf(format string, args ...any) {
	l.store.log.Error("storage engine", slog.String("text", fmt.Sprintf(format, args...)))
}

// Fatalf implements pebble.Logger. Pebble relies on it not returning, and may
// hold its locks: so it tells the owner and blocks this goroutine for good.
func (l *engineLogger) Fatalf(format string, args ...any) {
	l.store.fail(&FatalError{Reason: fmt.Sprintf(format, args...)})
	select {}
}

// fail tells the owner, once, that the database cannot go on, and ends the
// waiting for flushes.
func (s *Store) fail(err error) {
	s.fatalOnce.Do(func() {
		s.flusher.fail(err)
		s.log.Error("the database cannot go on", slog.Any("err", err))
		s.cfg.OnFatal(err)
	})
}

// eventListener hears of flushes, failures and stalls. Pebble calls it with
// its locks held.
func (s *Store) eventListener() *pebble.EventListener {
	return &pebble.EventListener{
		FlushEnd: func(info pebble.FlushInfo) { s.flusher.ended(info.Err) },
		BackgroundError: func(err error) {
			s.log.Error("background work of the storage engine", slog.Any("err", err))
			s.flusher.backgroundError(err)
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			s.log.Warn("slow disk", slog.String("text", info.String()))
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			s.stalls.Add(1)
			s.log.Warn("writes wait for the storage engine", slog.String("reason", info.Reason))
		},
	}
}
