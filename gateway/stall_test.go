package gateway_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/gateway"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
)

// kvClient is a client on a connection of its own, so that its flow control is
// its own too.
func (s *served) kvClient() flotillav1connect.KVServiceClient {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	s.t.Cleanup(transport.CloseIdleConnections)
	return flotillav1connect.NewKVServiceClient(&http.Client{Transport: transport}, s.url, connect.WithInterceptors(bearer(s.key)),
		connect.WithAcceptCompression("gzip", nil, nil))
}

func (s *served) openStreams(procedure string) float64 {
	families, err := s.metrics.Gather()
	require.NoError(s.t, err)
	for _, family := range families {
		if family.GetName() != "flotilla_gateway_open_streams" {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == procedure {
				return m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// A caller of a pipeline that takes no answers is cut off after a while, with
// the answers that wait for it; so is one of a streamed range.
func TestACallerThatTakesNoAnswersIsCutOff(t *testing.T) {
	t.Parallel()
	const keys, size = 30, 1 << 20
	s := serve(t, gateway.Config{StallMax: 500 * time.Millisecond})
	for i := range keys {
		s.put(strings.Repeat("k", i+1), strings.Repeat("v", size))
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel) // before the server stops, which waits for streams

	pipeline, err := s.kvClient().Pipeline(ctx)
	require.NoError(t, err)
	request := &flotillav1.PipelineRequest{}
	for i := range keys {
		request.Operations = append(request.Operations, &flotillav1.Operation{
			Id: uint64(i), Operation: &flotillav1.Operation_Get{Get: &flotillav1.GetRequest{Key: []byte(strings.Repeat("k", i+1))}},
		})
	}
	require.NoError(t, pipeline.Send(request))

	stream, err := s.kvClient().RangeStream(ctx, &flotillav1.RangeStreamRequest{Range: &flotillav1.RangeRequest{}})
	require.NoError(t, err)

	for _, procedure := range []string{flotillav1connect.KVServicePipelineProcedure, flotillav1connect.KVServiceRangeStreamProcedure} {
		require.Eventually(t, func() bool { return s.openStreams(procedure) == 0 }, waitMax, 10*time.Millisecond, procedure)
	}
	answered := 0
	for {
		message, err := pipeline.Receive()
		if err != nil {
			require.NotErrorIs(t, err, io.EOF)
			break
		}
		answered += len(message.GetResults())
	}
	require.Less(t, answered, keys)
	for stream.Receive() {
		require.NotEmpty(t, stream.Msg().GetRange().GetKvs())
	}
	require.Error(t, stream.Err())
}
