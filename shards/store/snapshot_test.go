package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/shards/mvcc"
)

// fill writes n keys and their events.
func fill(tb testing.TB, sh *Shard, n int, value string) {
	tb.Helper()
	commit(tb, sh, func(b *Batch) {
		for i := range n {
			rev := mvcc.Revision(i + 2)
			putVersion(tb, b, fmt.Sprintf("key%05d", i), rev, value)
			require.NoError(tb, b.Namespace(1).PutEvent(rev, 0, []byte("key")))
		}
		setApplied(tb, b, n)
	})
}

func hashOf(tb testing.TB, sh *Shard) Hash {
	tb.Helper()
	h, err := sh.Hash()
	require.NoError(tb, err)
	return h
}

func streamOf(tb testing.TB, sh *Shard) []byte {
	tb.Helper()
	var stream bytes.Buffer
	sn := sh.Snapshot()
	require.NoError(tb, sn.WriteTo(&stream, nil))
	require.NoError(tb, sn.Close())
	require.NoError(tb, sn.Close()) // safe to call twice
	return stream.Bytes()
}

func requireNoLeftovers(tb testing.TB, files vfs.FS) {
	tb.Helper()
	left, err := files.List("data/" + incomingName)
	if err == nil {
		require.Empty(tb, left)
	}
}

func TestRestoreReplacesTheShardAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, rows := range map[string]int{"one frame": 10, "many frames and tables": 4000, "no rows": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := openStore(t, testConfig(vfs.NewMem()))
			if rows > 0 {
				fill(t, from.Shard(7), rows, strings.Repeat("snapshot", 100))
			}
			stream := streamOf(t, from.Shard(7))

			files := vfs.NewMem()
			s := openStore(t, testConfig(files))
			s.tableBytes = 64 << 10
			for id := uint64(1); id <= 3; id++ {
				fill(t, s.Shard(id), 20, fmt.Sprintf("old data of %d", id))
			}
			sh, before, after := s.Shard(2), hashOf(t, s.Shard(1)), hashOf(t, s.Shard(3))
			view := sh.NewView()
			// Reading ends behind the stream, which arrives in small pieces.
			r := io.MultiReader(iotest.HalfReader(bytes.NewReader(stream)), iotest.ErrReader(errors.New("read too far")))
			require.NoError(t, sh.Restore(r, nil))

			require.Equal(t, hashOf(t, from.Shard(7)), hashOf(t, sh))
			require.Equal(t, before, hashOf(t, s.Shard(1)))
			require.Equal(t, after, hashOf(t, s.Shard(3)))
			requireNoLeftovers(t, files)
			value := "old data of 2"
			_, got, _, err := view.Namespace(1).Version([]byte("key00000"), 100)
			require.NoError(t, err)
			require.Equal(t, value, string(got), "a view from before keeps its state")
			require.NoError(t, view.Close())

			// And the shard goes on from there.
			commit(t, sh, func(b *Batch) { putVersion(t, b, "key00000", 1<<20, "new") })
			view = sh.NewView()
			_, got, _, err = view.Namespace(1).Version([]byte("key00000"), 1<<20)
			require.NoError(t, err)
			require.Equal(t, "new", string(got))
			require.NoError(t, view.Close())
		})
	}
}

func TestSnapshotKeepsItsMoment(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, sh *Shard, empty []byte){
		"writes": func(t *testing.T, sh *Shard, _ []byte) {
			t.Helper()
			fill(t, sh, 50, "later")
		},
		"flush": func(t *testing.T, sh *Shard, _ []byte) {
			t.Helper()
			fill(t, sh, 50, "later")
			require.NoError(t, sh.Flush())
		},
		"destroy": func(t *testing.T, sh *Shard, _ []byte) {
			t.Helper()
			require.NoError(t, sh.Destroy())
		},
		"restore": func(t *testing.T, sh *Shard, empty []byte) {
			t.Helper()
			require.NoError(t, sh.Restore(bytes.NewReader(empty), nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, testConfig(vfs.NewMem()))
			sh := s.Shard(1)
			fill(t, sh, 30, "first")
			want, empty := streamOf(t, sh), streamOf(t, s.Shard(2))
			sn := sh.Snapshot()
			change(t, sh, empty)
			require.NotEqual(t, want, streamOf(t, sh))
			var got bytes.Buffer
			require.NoError(t, sn.WriteTo(&got, nil))
			require.NoError(t, sn.Close())
			require.Equal(t, want, got.Bytes())
			require.ErrorIs(t, sn.WriteTo(&got, nil), ErrClosed)
		})
	}
}

// Every flipped bit and every missing end is found before the old state is
// touched.
func TestDamagedSnapshotIsRefused(t *testing.T) {
	t.Parallel()
	s := openStore(t, testConfig(vfs.NewMem()))
	fill(t, s.Shard(1), 3, "value")
	stream := streamOf(t, s.Shard(1))
	files := vfs.NewMem()
	target := openStore(t, testConfig(files)).Shard(1)
	fill(t, target, 5, "old")
	before := hashOf(t, target)

	refused := func(damaged []byte, what string, at int) {
		t.Helper()
		err := target.Restore(bytes.NewReader(damaged), nil)
		var corrupt *CorruptSnapshotError
		require.ErrorAs(t, err, &corrupt, "%s at %d", what, at)
	}
	for at := range stream {
		damaged := bytes.Clone(stream)
		damaged[at] ^= 1 << (at % 8)
		refused(damaged, "flip", at)
		refused(stream[:at], "cut", at)
	}
	refused([]byte("something else entirely"), "foreign", 0)
	require.Equal(t, before, hashOf(t, target))
	requireNoLeftovers(t, files)
}

// Streams whose checksums are right and whose content is not.
func TestForgedSnapshotIsRefused(t *testing.T) {
	t.Parallel()
	key := func(k string) []byte { return appendVersion(nil, 1, 1, []byte(k), 1)[shardBytes:] }
	for name, forge := range map[string]func(w *streamWriter) error{
		"keys out of order": func(w *streamWriter) error {
			return errors.Join(w.row(key("b"), nil), w.row(key("a"), nil), w.end())
		},
		"a key twice":      func(w *streamWriter) error { return errors.Join(w.row(key("a"), nil), w.row(key("a"), nil), w.end()) },
		"a key too short":  func(w *streamWriter) error { return errors.Join(w.row([]byte{1, 0}, nil), w.end()) },
		"a malformed key":  func(w *streamWriter) error { return errors.Join(w.row([]byte("no sentinel behind it"), nil), w.end()) },
		"too few rows":     func(w *streamWriter) error { w.digest.rows++; return w.end() },
		"other rows":       func(w *streamWriter) error { w.digest.add([]byte("x")); w.digest.rows--; return w.end() },
		"no end":           func(w *streamWriter) error { return w.row(key("a"), make([]byte, rowsBytes)) },
		"an empty frame":   func(w *streamWriter) error { w.beginFrame(frameRows); return errors.Join(w.endFrame(), w.end()) },
		"an unknown frame": func(w *streamWriter) error { w.beginFrame(77); return errors.Join(w.endFrame(), w.end()) },
		"no zstd": func(w *streamWriter) error {
			w.beginFrame(frameRows)
			w.frame = append(w.frame, "not compressed"...)
			return errors.Join(w.endFrame(), w.end())
		},
		"a short end": func(w *streamWriter) error { w.beginFrame(frameEnd); return w.endFrame() },
		"a length beyond the frame": func(w *streamWriter) error {
			w.beginFrame(frameRows)
			w.frame = w.encoder.EncodeAll([]byte{0xff, 0xff, 0xff, 0x7f, 1}, w.frame)
			return errors.Join(w.endFrame(), w.end())
		},
		"more than a frame may hold": func(w *streamWriter) error {
			w.beginFrame(frameRows)
			w.frame = w.encoder.EncodeAll(make([]byte, rowsBytesMax+1), w.frame)
			return errors.Join(w.endFrame(), w.end())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stream bytes.Buffer
			w, err := newStreamWriter(&stream, func(int) error { return nil })
			require.NoError(t, err)
			require.NoError(t, w.header())
			require.NoError(t, forge(w))
			sh := openStore(t, testConfig(vfs.NewMem())).Shard(1)
			fill(t, sh, 1, "old")
			before := hashOf(t, sh)
			var corrupt *CorruptSnapshotError
			require.ErrorAs(t, sh.Restore(&stream, nil), &corrupt)
			require.Equal(t, before, hashOf(t, sh))
		})
	}
}

func TestSnapshotOfANewerFormatIsRefused(t *testing.T) {
	t.Parallel()
	sh := openStore(t, testConfig(vfs.NewMem())).Shard(1)
	var newer *NewerFormatError
	require.ErrorAs(t, sh.Restore(bytes.NewReader(streamHeader(streamVersion+1)), nil), &newer)
	require.Equal(t, streamVersion+1, newer.Stored)
	var corrupt *CorruptSnapshotError
	require.ErrorAs(t, sh.Restore(bytes.NewReader(streamHeader(0)), nil), &corrupt)
}

// A length is checked before memory is taken for it.
func TestSnapshotLengthsAreBounded(t *testing.T) {
	t.Parallel()
	sh := openStore(t, testConfig(vfs.NewMem())).Shard(1)
	stream := append(streamHeader(streamVersion), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)
	var corrupt *CorruptSnapshotError
	require.ErrorAs(t, sh.Restore(io.MultiReader(bytes.NewReader(stream), zeros{}), nil), &corrupt)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestReadErrorIsNotCorruption(t *testing.T) {
	t.Parallel()
	sh := openStore(t, testConfig(vfs.NewMem())).Shard(1)
	broken := errors.New("connection lost")
	err := sh.Restore(io.MultiReader(bytes.NewReader(streamHeader(streamVersion)), iotest.ErrReader(broken)), nil)
	require.ErrorIs(t, err, broken)
	var corrupt *CorruptSnapshotError
	require.NotErrorAs(t, err, &corrupt)
}

// signalWriter tells when it is first written to.
type signalWriter struct{ written chan struct{} }

func (w *signalWriter) Write(p []byte) (int, error) {
	select {
	case <-w.written:
	default:
		close(w.written)
	}
	return len(p), nil
}

func TestStopEndsSnapshots(t *testing.T) {
	t.Parallel()
	cfg := testConfig(vfs.NewMem())
	cfg.SnapshotBytesPerSecond = 1 // the second frame would wait for the header's 16 seconds
	s := openStore(t, cfg)
	sh := s.Shard(1)
	fill(t, sh, 10, "value")

	sn, w, stop := sh.Snapshot(), &signalWriter{make(chan struct{})}, make(chan struct{})
	ended := make(chan error)
	go func() { ended <- sn.WriteTo(w, stop) }()
	<-w.written
	close(stop)
	require.ErrorIs(t, <-ended, ErrStopped)
	require.NoError(t, sn.Close())

	before := hashOf(t, sh)
	require.ErrorIs(t, sh.Restore(bytes.NewReader(streamHeader(streamVersion)), stop), ErrStopped)
	require.Equal(t, before, hashOf(t, sh))
}

func TestStoreClosesForgottenSnapshots(t *testing.T) {
	t.Parallel()
	s, err := Open(testConfig(vfs.NewMem()))
	require.NoError(t, err)
	fill(t, s.Shard(1), 10, "value")
	sn := s.Shard(1).Snapshot()
	require.NoError(t, s.Close())
	require.ErrorIs(t, sn.WriteTo(io.Discard, nil), ErrClosed)
	require.NoError(t, sn.Close())
}

// FuzzSnapshotDecode: no bytes make the reader panic, and what it takes is
// what a writer writes: encoding it again gives rows of the same hash.
func FuzzSnapshotDecode(f *testing.F) {
	s := openStore(f, testConfig(vfs.NewMem()))
	f.Add(streamOf(f, s.Shard(1)))
	fill(f, s.Shard(1), 3, "value")
	f.Add(streamOf(f, s.Shard(1)))
	f.Add(streamHeader(streamVersion))
	f.Fuzz(func(t *testing.T, stream []byte) {
		in, err := newStreamReader(bytes.NewReader(stream), nil)
		require.NoError(t, err)
		defer in.close()
		out, err := newStreamWriter(io.Discard, func(int) error { return nil })
		require.NoError(t, err)
		if err = in.header(); err != nil {
			return
		}
		for {
			key, value, err := in.next()
			if errors.Is(err, errStreamEnd) {
				break
			}
			if err != nil {
				return
			}
			require.NoError(t, out.row(key, value))
		}
		require.NoError(t, out.end())
		require.Equal(t, in.digest.sum(), out.digest.sum())
	})
}
