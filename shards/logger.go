package shards

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/logger"
)

// The consensus library has one logger factory for the process, and it can be
// set once: so it is pointed at the logger of the node that started last.
var (
	libraryLoggerOnce sync.Once                   //nolint:gochecknoglobals // the library's own logger is global
	libraryLogger     atomic.Pointer[slog.Logger] //nolint:gochecknoglobals // likewise
)

func logLibraryTo(log *slog.Logger) {
	libraryLogger.Store(log)
	libraryLoggerOnce.Do(func() {
		logger.SetLoggerFactory(func(pkg string) logger.ILogger { return libraryLog{pkg} })
	})
}

// libraryLog passes the library's log on. Its information is detail for us.
type libraryLog struct{ pkg string }

// SetLevel implements logger.ILogger; slog's handler decides instead.
func (libraryLog) SetLevel(logger.LogLevel) {}

// Debugf implements logger.ILogger; the library's debugging is dropped.
func (libraryLog) Debugf(string, ...any) {}

// Infof implements logger.ILogger.
func (l libraryLog) Infof(format string, args ...any) {
	l.log((*slog.Logger).Debug, format, args)
}

// Warningf implements logger.ILogger. The library warns of what every election
// and restart brings with it; the host tells what an operator wants to know.
func (l libraryLog) Warningf(format string, args ...any) {
	l.log((*slog.Logger).Debug, format, args)
}

// Errorf implements logger.ILogger. Which nodes are not reached is told by this
// program's own transport, with what to do and not again and again.
func (l libraryLog) Errorf(format string, args ...any) {
	if l.pkg == "transport" {
		l.log((*slog.Logger).Debug, format, args)
		return
	}
	l.log((*slog.Logger).Error, format, args)
}

// Panicf implements logger.ILogger. The library relies on it not returning.
func (l libraryLog) Panicf(format string, args ...any) {
	l.log((*slog.Logger).Error, format, args)
	panic(fmt.Sprintf(format, args...)) //nolint:forbidigo // the library goes on as if it had not been told otherwise
}

func (l libraryLog) log(level func(*slog.Logger, string, ...any), format string, args []any) {
	level(libraryLogger.Load(), "consensus library", "package", l.pkg, "text", fmt.Sprintf(format, args...))
}
