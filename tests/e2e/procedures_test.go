package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tests/process"
)

// TestEveryProcedureAsksWhoIsCalling calls all procedures of all services
// without a key and with a wrong one.
func TestEveryProcedureAsksWhoIsCalling(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	wrong := strings.ReplaceAll(node.Info.APIKey, node.Info.APIKey[len(node.Info.APIKey)-8:], "aaaaaaaa")
	procedures := 0
	for _, method := range methods() {
		procedure := "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
		for name, options := range map[string][]connect.ClientOption{
			"without a key":    nil,
			"with a wrong key": {connect.WithInterceptors(bearer(wrong))},
			"over gRPC":        {connect.WithGRPC()},
			"over gRPC-Web":    {connect.WithGRPCWeb(), connect.WithInterceptors(bearer(wrong))},
		} {
			err := callEmpty(t, connect.NewClient[emptypb.Empty, emptypb.Empty](client, node.Info.APIURL+procedure, options...), method)
			require.Equal(t, connect.CodeUnauthenticated, connect.CodeOf(err), "%s %s: %v", procedure, name, err)
		}
		procedures++
	}
	require.Greater(t, procedures, 20)
}

// methods are those of all services of the API.
func methods() []protoreflect.MethodDescriptor {
	var all []protoreflect.MethodDescriptor
	api := flotillav1.File_flotilla_v1_kv_proto.Package()
	protoregistry.GlobalFiles.RangeFilesByPackage(api, func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				all = append(all, service.Methods().Get(j))
			}
		}
		return true
	})
	return all
}

// callEmpty calls a procedure with an empty message, of which all procedures'
// can be decoded.
func callEmpty(t *testing.T, c *connect.Client[emptypb.Empty, emptypb.Empty], method protoreflect.MethodDescriptor) error {
	t.Helper()
	ctx := t.Context()
	switch {
	case method.IsStreamingClient() && method.IsStreamingServer():
		stream := c.CallBidiStream(ctx)
		_ = stream.Send(&emptypb.Empty{}) // it may have ended already
		_, err := stream.Receive()
		return errors.Join(err, stream.CloseRequest(), stream.CloseResponse())
	case method.IsStreamingServer():
		stream, err := c.CallServerStream(ctx, connect.NewRequest(&emptypb.Empty{}))
		if err != nil {
			return err
		}
		require.False(t, stream.Receive())
		err = stream.Err()
		_ = stream.Close()
		return err
	default:
		_, err := c.CallUnary(ctx, connect.NewRequest(&emptypb.Empty{}))
		return err
	}
}
