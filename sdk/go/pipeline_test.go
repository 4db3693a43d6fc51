package flotilla_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// nodes are servers in this process, by host, so that a test has its own time.
type nodes map[string]*node

// Do implements connect.HTTPClient.
func (n nodes) Do(req *http.Request) (*http.Response, error) {
	node := n[req.URL.Host]
	if node == nil || node.isDown() {
		return nil, errors.New("connection refused")
	}
	body, answer := io.Pipe()
	w := &pipeWriter{header: make(http.Header), begun: make(chan struct{}), body: answer}
	served := req.Clone(req.Context())
	served.ProtoMajor, served.Proto = 2, "HTTP/2.0"
	_, handler := flotillav1connect.NewKVServiceHandler(node)
	context.AfterFunc(req.Context(), func() { _ = body.Close() })
	go func() {
		handler.ServeHTTP(w, served)
		w.WriteHeader(http.StatusOK)
		_ = answer.Close()
	}()
	select {
	case <-w.begun:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	return &http.Response{StatusCode: w.status, ProtoMajor: 2, Header: w.header, Body: body, Request: req}, nil
}

// pipeWriter is a response that is read while it is written.
type pipeWriter struct {
	header http.Header
	once   sync.Once
	begun  chan struct{}
	status int
	body   *io.PipeWriter
}

func (w *pipeWriter) Header() http.Header { return w.header }
func (w *pipeWriter) Flush()              { w.WriteHeader(http.StatusOK) }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status = status
		close(w.begun)
	})
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// node answers every operation, and says who leads.
type node struct {
	flotillav1connect.UnimplementedKVServiceHandler

	mu      sync.Mutex
	down    bool
	cutOff  bool   // from its cluster: no leader is to be had
	leader  string // told with every answer
	asked   int    // operations
	streams int    // opened so far
	rested  int    // streams that the client ended in good order
}

// counts is what it was asked so far.
func (n *node) counts() (asked, streams, rested int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked, n.streams, n.rested
}

func (n *node) isDown() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.down
}

func (n *node) set(change func(n *node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

func (n *node) Pipeline(_ context.Context, stream *connect.BidiStream[flotillav1.PipelineRequest, flotillav1.PipelineResponse]) error {
	n.set(func(n *node) { n.streams++ })
	for {
		message, err := stream.Receive()
		if err != nil {
			if errors.Is(err, io.EOF) {
				n.set(func(n *node) { n.rested++ })
			}
			return nil
		}
		if n.isDown() {
			return connect.NewError(connect.CodeUnavailable, errors.New("the stream breaks"))
		}
		response := &flotillav1.PipelineResponse{}
		answer := putAnswer(1)
		n.set(func(n *node) {
			if n.leader != "" {
				response.Leaders = []*flotillav1.NamespaceLeader{{Namespace: "default", ApiUrl: n.leader}}
			}
			if n.cutOff {
				answer = refusal(connect.CodeUnavailable, flotillav1.Reason_REASON_NOT_LEADER, nil)
			}
			n.asked += len(message.GetOperations())
		})
		for _, op := range message.GetOperations() {
			result := &flotillav1.OperationResult{Id: op.GetId(), Result: answer.GetResult()}
			response.Results = append(response.Results, result)
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

func putThrough(t *testing.T, servers nodes, urls ...string) (put func(), kv *flotilla.KV) {
	t.Helper()
	client, err := flotilla.New(flotilla.Config{URLs: urls, APIKey: "flk_test", HTTPClient: servers})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	n := 0
	kv = client.Namespace("default").KV
	return func() {
		n++
		_, err := kv.Put(t.Context(), strconv.Itoa(n), nil, nil)
		require.NoError(t, err)
	}, kv
}

func TestAStreamThatNobodyUsesIsEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &node{}
		put, _ := putThrough(t, nodes{"n1": n}, "http://n1")
		counted := func(asked, streams, rested int, why string) {
			t.Helper()
			synctest.Wait()
			a, s, r := n.counts()
			require.Equal(t, [3]int{asked, streams, rested}, [3]int{a, s, r}, why)
		}
		put()
		for range 10 {
			<-time.After(50 * time.Second)
			put()
		}
		counted(11, 1, 0, "it is used, however little")
		<-time.After(2 * time.Minute)
		counted(11, 1, 1, "it costs the server nothing any more")
		<-time.After(time.Hour)
		put()
		counted(12, 2, 1, "nothing was tried twice")
	})
}

func TestOperationsGoToTheLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n1, n2, stranger := &node{leader: "http://n2"}, &node{}, &node{}
		servers := nodes{"n1": n1, "n2": n2, "elsewhere": stranger}
		put, kv := putThrough(t, servers, "http://n1", "http://n2")
		asked := func(want1, want2 int) {
			t.Helper()
			asked1, _, _ := n1.counts()
			asked2, _, _ := n2.counts()
			require.Equal(t, [2]int{want1, want2}, [2]int{asked1, asked2})
		}
		put()
		put()
		put()
		asked(1, 2)
		// What any node may answer is left to any.
		_, err := kv.Get(t.Context(), "1", &flotilla.GetOptions{Serializable: true})
		require.ErrorIs(t, err, flotilla.ErrKeyNotFound)
		asked(2, 2)
		// The leader moves.
		n2.set(func(n *node) { n.leader = "http://n1" })
		n1.set(func(n *node) { n.leader = "" })
		put()
		put()
		asked(3, 3)
		// It goes back, and ends.
		n1.set(func(n *node) { n.leader = "http://n2" })
		put()
		n2.set(func(n *node) { n.leader, n.down = "", true })
		put()
		put()
		asked(6, 3)
		// It is back, but not gone to before a while.
		n2.set(func(n *node) { n.down = false })
		put()
		asked(7, 3)
		<-time.After(5 * time.Second)
		put()
		put()
		asked(8, 4)
		// A credential is brought to nobody whom the caller did not name.
		n2.set(func(n *node) { n.leader = "http://elsewhere" })
		put()
		put()
		_, streams, _ := stranger.counts()
		require.Zero(t, streams)
		asked(8, 6)
	})
}

// A node that is cut off from the others answers for ever that no leader is to be had.
func TestANodeThatIsCutOffIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n1, n2 := &node{cutOff: true}, &node{}
		put, _ := putThrough(t, nodes{"n1": n1, "n2": n2}, "http://n1", "http://n2")
		asked := func(want1, want2 int, why string) {
			t.Helper()
			asked1, _, _ := n1.counts()
			asked2, _, _ := n2.counts()
			require.Equal(t, [2]int{want1, want2}, [2]int{asked1, asked2}, why)
		}
		put()
		asked(2, 1, "the second answer is enough")
		put()
		asked(2, 2, "all calls go elsewhere")

		// The one that leads is cut off, and the others do not know yet.
		<-time.After(5 * time.Second)
		n1.set(func(n *node) { n.cutOff, n.leader = true, "" })
		n2.set(func(n *node) { n.leader = "http://n1" })
		put()
		asked(2, 3, "the leader is told")
		put()
		asked(4, 4, "it is gone to, and left")
		put()
		asked(4, 5, "it is not gone to again at once")
		<-time.After(5 * time.Second)
		n1.set(func(n *node) { n.cutOff = false })
		put()
		put()
		asked(5, 6, "it is well")
	})
}
