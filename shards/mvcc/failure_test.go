package mvcc_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/mvcc/mvcctest"
)

// TestFailuresOfStorage makes each call on storage fail in turn. Every failure
// must come out, told apart from a refusal, and leave the state as it was: the
// caller throws the batch away.
func TestFailuresOfStorage(t *testing.T) {
	t.Parallel()
	everything := &flotillav1.KeyRange{}
	requests := map[string]func(*space) error{
		"get": func(s *space) error {
			_, err := mvcc.Get(s.store, &s.state, &flotillav1.GetRequest{Key: b("a")})
			return err
		},
		"range": func(s *space) error {
			_, err := mvcc.Range(s.store, &s.state, &flotillav1.RangeRequest{Descending: true}, mvcc.ReadLimits{})
			return err
		},
		"range in another order": func(s *space) error {
			_, err := mvcc.Range(s.store, &s.state, &flotillav1.RangeRequest{SortTarget: flotillav1.SortTarget_SORT_TARGET_VALUE}, mvcc.ReadLimits{})
			return err
		},
		"put": func(s *space) error {
			_, err := mvcc.Put(s.store, &s.state, s.hooks, &flotillav1.PutRequest{Key: b("a"), PrevKv: true})
			return err
		},
		"delete": func(s *space) error {
			_, err := mvcc.Delete(s.store, &s.state, s.hooks, deleteKey("a"))
			return err
		},
		"delete a range": func(s *space) error {
			_, err := mvcc.Delete(s.store, &s.state, s.hooks, deleteRange(everything))
			return err
		},
		"txn": func(s *space) error {
			_, err := s.txn(&flotillav1.TxnRequest{
				Compare: []*flotillav1.Compare{
					exists("a"),
					{Subject: &flotillav1.Compare_Range{Range: everything}, Target: &flotillav1.Compare_Version{Version: 1}},
				},
				Success: operations(
					putOf("c"), &flotillav1.GetRequest{Key: b("a")}, &flotillav1.RangeRequest{},
					deleteRange(&flotillav1.KeyRange{End: b("b")}), &flotillav1.RangeRequest{Descending: true},
				),
			})
			return err
		},
		"purge": func(s *space) error {
			_, err := mvcc.Purge(s.store, &s.state, 100)
			return err
		},
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for call := 1; ; call++ {
				s := written(t)
				before := s.state
				s.store.FailAt(call)
				err := request(s)
				if !s.store.Failed() {
					require.NoError(t, err)
					require.Greater(t, call, 1, "storage was not called")
					return
				}
				require.ErrorIs(t, err, mvcctest.ErrInjected, "call %d", call)
				require.False(t, mvcc.IsRefusal(err))
				require.Equal(t, before, s.state)
			}
		})
	}
}

// written has something for every request to do.
func written(t *testing.T) *space {
	t.Helper()
	s := newSpace()
	s.put(t, putOf("d"))
	s.put(t, putOf("d"))
	_, err := mvcc.Delete(s.store, &s.state, s.hooks, deleteKey("d"))
	require.NoError(t, err)
	s.put(t, &flotillav1.PutRequest{Key: b("a"), Value: b("1"), Lease: 7})
	s.put(t, putOf("b"))
	_, err = mvcc.Compact(&s.state, &flotillav1.CompactRequest{Revision: 5})
	require.NoError(t, err)
	return s
}

// TestFailuresOfHooks expects a lease that cannot be moved to be a failure.
func TestFailuresOfHooks(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	requests := map[string]func(*space) error{
		"put": func(s *space) error {
			_, err := mvcc.Put(s.store, &s.state, s.hooks, putOf("a"))
			return err
		},
		"delete": func(s *space) error {
			_, err := mvcc.Delete(s.store, &s.state, s.hooks, deleteKey("a"))
			return err
		},
		"txn": func(s *space) error {
			_, err := s.txn(&flotillav1.TxnRequest{Success: operations(putOf("a"))})
			return err
		},
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := written(t)
			before := s.state
			s.hooks.Err = broken
			require.ErrorIs(t, request(s), broken)
			require.Equal(t, before, s.state)
		})
	}
}

// TestCorruptVersions expects bytes that are not a version to be a failure
// wherever they are met.
func TestCorruptVersions(t *testing.T) {
	t.Parallel()
	requests := map[string]func(*space) error{
		"get": func(s *space) error {
			_, err := mvcc.Get(s.store, &s.state, &flotillav1.GetRequest{Key: b("x")})
			return err
		},
		"range": func(s *space) error {
			_, err := mvcc.Range(s.store, &s.state, &flotillav1.RangeRequest{}, mvcc.ReadLimits{})
			return err
		},
		"put": func(s *space) error {
			_, err := mvcc.Put(s.store, &s.state, s.hooks, putOf("x"))
			return err
		},
		"purge": func(s *space) error {
			_, err := mvcc.Purge(s.store, &s.state, 1)
			return err
		},
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSpace()
			require.NoError(t, s.store.PutVersion(b("x"), 2, []byte{9}))
			require.NoError(t, s.store.PutEvent(2, 0, b("x")))
			s.state.Revision, s.state.CompactRevision = 2, 2
			err := request(s)
			require.ErrorIs(t, err, mvcc.ErrCorruptVersion)
			require.False(t, mvcc.IsRefusal(err))
		})
	}

	// History without its version is found by purging.
	s := newSpace()
	require.NoError(t, s.store.PutEvent(2, 0, b("x")))
	s.state.Revision, s.state.CompactRevision = 2, 2
	_, err := mvcc.Purge(s.store, &s.state, 1)
	require.ErrorIs(t, err, mvcc.ErrCorruptVersion)
}
