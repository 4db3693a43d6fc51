package datadir

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"time"
)

// Watermark decides when a node stops to take writes because its disk is nearly
// full. Between the two bounds it stays as it is, so that it does not change
// its mind with every flush.
type Watermark struct {
	// LowBytes is the free space below which the node serves reads only. It
	// leaves room for the flushes, the compactions and the log entries that
	// are on their way: a disk that is really full would halt the node.
	// Default 512 MiB.
	LowBytes uint64
	// HighBytes is the free space from which it takes writes again. Default
	// LowBytes and a half.
	HighBytes uint64
}

// WithDefaults fills the fields that are 0.
func (w Watermark) WithDefaults() Watermark {
	w.LowBytes = cmp.Or(w.LowBytes, 512<<20)
	w.HighBytes = cmp.Or(w.HighBytes, w.LowBytes+w.LowBytes/2)
	return w
}

// Validate says what cannot be.
func (w Watermark) Validate() error {
	if w.HighBytes < w.LowBytes {
		return fmt.Errorf("writes would return at %d free bytes, below the %d at which they end", w.HighBytes, w.LowBytes)
	}
	return nil
}

// ReadOnly decides from the free bytes whether the node serves reads only, given
// whether it did so before.
func (w Watermark) ReadOnly(before bool, freeBytes uint64) bool {
	if before {
		return freeBytes < w.HighBytes
	}
	return freeBytes < w.LowBytes
}

// FreeBytes returns how many bytes this process may still write to the file
// system of a directory.
func FreeBytes(dir string) (uint64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("read the free space of %s: %w", dir, err)
	}
	return stat.Bavail * uint64(stat.Bsize), nil
}

// DiskWatch turns the node read-only while its disk is nearly full.
type DiskWatch struct {
	// Watermark decides.
	Watermark Watermark
	// Interval is how often it looks. Default 1 s.
	Interval time.Duration
	// Free returns the free bytes.
	Free func() (uint64, error)
	// SetReadOnly is told every change, and how it is at the start.
	SetReadOnly func(readOnly bool)
	// Log is told every change.
	Log *slog.Logger
}

// Run looks until the context ends, and returns nil then. When the free space
// cannot be read things stay as they are.
func (w DiskWatch) Run(ctx context.Context) error {
	mark := w.Watermark.WithDefaults()
	if err := mark.Validate(); err != nil {
		return err
	}
	ticker := time.NewTicker(cmp.Or(w.Interval, time.Second))
	defer ticker.Stop()
	readOnly, told := false, false
	for {
		free, err := w.Free()
		if err != nil {
			w.Log.Warn("free disk space is not known", "err", err)
		} else if next := mark.ReadOnly(readOnly, free); next != readOnly || !told {
			w.SetReadOnly(next)
			if next {
				w.Log.Error("disk is nearly full, writes are refused", "free_bytes", free, "low_bytes", mark.LowBytes)
			} else if told {
				w.Log.Info("disk has room again, writes are taken", "free_bytes", free)
			}
			readOnly, told = next, true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
