package datadir_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/ops/datadir"
)

func TestWatermark(t *testing.T) {
	t.Parallel()
	mark := datadir.Watermark{LowBytes: 100, HighBytes: 150}
	tests := []struct {
		name   string
		before bool
		free   uint64
		want   bool
	}{
		{"plenty", false, 1000, false},
		{"at the low bound", false, 100, false},
		{"below the low bound", false, 99, true},
		{"nothing", false, 0, true},
		{"between, was writable", false, 120, false},
		{"between, was read-only", true, 120, true},
		{"just below the high bound", true, 149, true},
		{"at the high bound", true, 150, false},
	}
	for _, test := range tests {
		require.Equal(t, test.want, mark.ReadOnly(test.before, test.free), test.name)
	}
}

func TestWatermarkDefaults(t *testing.T) {
	t.Parallel()
	require.Equal(t, datadir.Watermark{LowBytes: 512 << 20, HighBytes: 768 << 20}, datadir.Watermark{}.WithDefaults())
	require.Equal(t, datadir.Watermark{LowBytes: 10, HighBytes: 15}, datadir.Watermark{LowBytes: 10}.WithDefaults())
	require.NoError(t, datadir.Watermark{}.WithDefaults().Validate())
	require.Error(t, datadir.Watermark{LowBytes: 10, HighBytes: 9}.Validate())
}

func TestFreeBytes(t *testing.T) {
	t.Parallel()
	free, err := datadir.FreeBytes(t.TempDir())
	require.NoError(t, err)
	require.Positive(t, free)
	_, err = datadir.FreeBytes(filepath.Join(t.TempDir(), "missing"))
	require.ErrorContains(t, err, "free space")
}

func TestDiskWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		var unknown atomic.Bool
		var told []bool
		var log bytes.Buffer
		watch := datadir.DiskWatch{
			Watermark: datadir.Watermark{LowBytes: 100, HighBytes: 150},
			Free: func() (uint64, error) {
				if unknown.Load() {
					return 0, errors.New("no answer")
				}
				return free.Load(), nil
			},
			SetReadOnly: func(readOnly bool) { told = append(told, readOnly) },
			Log:         slog.New(slog.NewTextHandler(&log, nil)),
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		free.Store(1000)
		go func() { ended <- watch.Run(ctx) }()
		synctest.Wait()
		require.Equal(t, []bool{false}, told)

		tick := func() {
			<-time.After(time.Second)
			synctest.Wait()
		}
		for _, step := range []struct {
			free    uint64
			unknown bool
			told    []bool
		}{
			{free: 101, told: []bool{false}},
			{free: 99, told: []bool{false, true}},
			{free: 140, told: []bool{false, true}},
			{free: 1000, unknown: true, told: []bool{false, true}},
			{free: 150, told: []bool{false, true, false}},
			{free: 120, told: []bool{false, true, false}},
		} {
			free.Store(step.free)
			unknown.Store(step.unknown)
			tick()
			require.Equal(t, step.told, told)
		}
		require.Contains(t, log.String(), "disk is nearly full")
		require.Contains(t, log.String(), "disk has room again")
		require.Contains(t, log.String(), "free disk space is not known")

		cancel()
		require.NoError(t, <-ended)
	})
}

func TestDiskWatchRefusesAWrongWatermark(t *testing.T) {
	t.Parallel()
	watch := datadir.DiskWatch{Watermark: datadir.Watermark{LowBytes: 2, HighBytes: 1}}
	require.Error(t, watch.Run(t.Context()))
}
