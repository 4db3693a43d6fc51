package isolation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// places counts the places that wrong credentials were sent from.
var places atomic.Uint32

// newPlace is an address of this machine that nobody has called from: who fails too
// often at one is not listened to there any more, which is not what is tested.
func newPlace() string {
	n := places.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 1+n>>16&0x7f, n>>8&0xff, n&0xff)
}

func dialer(place string) *net.Dialer {
	if place == "" {
		return &net.Dialer{}
	}
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(place)}}
}

// http2 is a client with a connection of its own, from a place; "" is any.
func http2(place string) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: protocols, DialContext: dialer(place).DialContext}}
}

// answer is what a call came to: its first message, or why there is none.
type answer struct {
	message protoreflect.Message
	err     error
}

// A caller calls any procedure of a port.
type caller interface {
	call(ctx context.Context, method protoreflect.MethodDescriptor, credential string, requests ...proto.Message) answer
}

// frame is a message that is encoded already, so that one client calls everything.
type frame struct{ data []byte }

// frames is a codec of frames under the name of the one that has encoded them.
type frames struct{ name string }

func (c frames) Name() string { return c.name }

func (frames) Marshal(message any) ([]byte, error) {
	if f, ok := message.(*frame); ok {
		return f.data, nil
	}
	return nil, fmt.Errorf("%T is no frame", message)
}

func (frames) Unmarshal(data []byte, message any) error {
	switch m := message.(type) {
	case *frame:
		m.data = append([]byte(nil), data...)
		return nil
	case proto.Message: // the status of gRPC
		return proto.Unmarshal(data, m)
	default:
		return fmt.Errorf("%T is no frame", message)
	}
}

// encode spells a message as a codec of this name does.
func encode(codec string, message proto.Message) (*frame, error) {
	var data []byte
	var err error
	if codec == "json" {
		data, err = protojson.Marshal(message)
	} else {
		data, err = proto.Marshal(message)
	}
	return &frame{data}, err
}

func decode(codec string, method protoreflect.MethodDescriptor, f *frame) (protoreflect.Message, error) {
	message := dynamicpb.NewMessage(method.Output())
	if codec == "json" {
		return message, protojson.Unmarshal(f.data, message)
	}
	return message, proto.Unmarshal(f.data, message)
}

// overConnect calls by one of the protocols that the connect library speaks.
type overConnect struct {
	name, base, codec string
	options           []connect.ClientOption
	client            *http.Client
}

// protocolsOf are the ways to call the API's port, from one place.
func protocolsOf(base, place string) []overConnect {
	client := http2(place)
	return append(protocolsOf1(base, place),
		overConnect{"Connect over HTTP 2", base, "proto", nil, client},
		overConnect{"Connect with JSON over HTTP 2", base, "json", nil, client},
		overConnect{"gRPC", base, "proto", []connect.ClientOption{connect.WithGRPC()}, client})
}

// protocolsOf1 are those that need no more than HTTP 1, which is what the operators'
// port speaks.
func protocolsOf1(base, place string) []overConnect {
	client := http1(place)
	return []overConnect{
		{"Connect", base, "proto", nil, client},
		{"Connect with JSON", base, "json", nil, client},
		{"gRPC-Web", base, "proto", []connect.ClientOption{connect.WithGRPCWeb()}, client},
	}
}

// http1 is http2 with HTTP 1.
func http1(place string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: dialer(place).DialContext}}
}

// speaks tells whether the protocol has streams in both directions.
func (c overConnect) speaks(method protoreflect.MethodDescriptor) bool {
	return !method.IsStreamingClient() || strings.HasSuffix(c.name, "HTTP 2") || c.name == "gRPC"
}

func procedureOf(method protoreflect.MethodDescriptor) string {
	return "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
}

// call implements caller.
func (c overConnect) call(ctx context.Context, method protoreflect.MethodDescriptor, credential string, requests ...proto.Message) answer {
	ctx, cancel := context.WithTimeout(ctx, waitMax)
	defer cancel()
	options := append([]connect.ClientOption{connect.WithCodec(frames{c.codec}), connect.WithInterceptors(bearer(credential))}, c.options...)
	called := connect.NewClient[frame, frame](c.client, c.base+procedureOf(method), options...)
	var list []*frame
	for _, request := range requests {
		f, err := encode(c.codec, request)
		if err != nil {
			return answer{err: err}
		}
		list = append(list, f)
	}
	f, err := exchangeFrames(ctx, called, method, list)
	if err != nil {
		return answer{err: err}
	}
	message, err := decode(c.codec, method, f)
	return answer{message, err}
}

// exchangeFrames sends requests, and receives the answer to the last one.
func exchangeFrames(ctx context.Context, c *connect.Client[frame, frame], method protoreflect.MethodDescriptor, requests []*frame) (*frame, error) {
	switch {
	case method.IsStreamingClient():
		stream := c.CallBidiStream(ctx)
		defer func() { _, _ = stream.CloseRequest(), stream.CloseResponse() }()
		var last *frame
		for _, request := range requests {
			_ = stream.Send(request) // it may have ended already: Receive tells why
			var err error
			if last, err = stream.Receive(); err != nil {
				return nil, err
			}
		}
		return last, nil
	case method.IsStreamingServer():
		stream, err := c.CallServerStream(ctx, connect.NewRequest(requests[0]))
		if err != nil {
			return nil, err
		}
		defer func() { _ = stream.Close() }()
		if !stream.Receive() {
			if stream.Err() == nil {
				return nil, io.EOF
			}
			return nil, stream.Err()
		}
		return &frame{append([]byte(nil), stream.Msg().data...)}, nil
	default:
		response, err := c.CallUnary(ctx, connect.NewRequest(requests[0]))
		if err != nil {
			return nil, err
		}
		return response.Msg, nil
	}
}

// overGRPC calls the etcd port as etcd's clients do.
type overGRPC struct{ conn *grpc.ClientConn }

func dialEtcd(t *testing.T, place string, options ...grpc.DialOption) overGRPC {
	t.Helper()
	_, address, _ := strings.Cut(shared.node.EtcdURL(), "://")
	conn, err := grpc.NewClient("passthrough:///"+address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer(place).DialContext(ctx, "tcp", address)
		}),
	}, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return overGRPC{conn}
}

// withToken is a context of calls with a credential; "" is none.
func withToken(ctx context.Context, credential string) context.Context {
	if credential == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "token", credential)
}

// call implements caller.
func (c overGRPC) call(ctx context.Context, method protoreflect.MethodDescriptor, credential string, requests ...proto.Message) answer {
	ctx, cancel := context.WithTimeout(withToken(ctx, credential), waitMax)
	defer cancel()
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, procedureOf(method))
	if err != nil {
		return answer{err: err}
	}
	message := dynamicpb.NewMessage(method.Output())
	for i, request := range requests {
		if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
			return answer{err: err}
		}
		if i == len(requests)-1 && !method.IsStreamingClient() {
			_ = stream.CloseSend()
		}
		if err := stream.RecvMsg(message); err != nil {
			return answer{err: err}
		}
	}
	if method.Name() == "Snapshot" { // of which a tenant may have few at once
		for stream.RecvMsg(dynamicpb.NewMessage(method.Output())) == nil {
			continue
		}
	}
	return answer{message, nil}
}
