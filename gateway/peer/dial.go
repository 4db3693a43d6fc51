package peer

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	// keepaliveTime is how often a connection on which nothing happens is tried;
	// the library has no shorter one.
	keepaliveTime = 10 * time.Second
	// keepaliveMin is how often others may try it.
	keepaliveMin = 5 * time.Second
	// keepaliveTimeout is after how long it then counts as dead.
	keepaliveTimeout = 3 * time.Second
)

// dial makes the connection to a node, which is established when it is needed, and
// again when it is lost; each time to the address that the node has by then.
func dial(cfg *PoolConfig, node string, window int32) (*grpc.ClientConn, error) {
	security := insecure.NewCredentials()
	if cfg.TLS != nil {
		security = hostCredentials{credentials.NewTLS(cfg.TLS)}
	}
	return grpc.NewClient("passthrough:///"+node,
		grpc.WithTransportCredentials(security),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			address := cfg.Address(node)
			if address == "" {
				return nil, fmt.Errorf("the address of node %s is not known", node)
			}
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, fmt.Errorf("the address of node %s: %w", node, err)
			}
			dialer := net.Dialer{}
			if cfg.Source != nil {
				dialer.LocalAddr = &net.TCPAddr{IP: cfg.Source}
			}
			raw, err := dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, err
			}
			return hostConn{raw, host}, nil
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: cfg.ConnectTimeout,
			// The link has pauses of its own, longer ones.
			Backoff: backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: time.Millisecond},
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(receiveBytesMax), grpc.MaxCallSendMsgSize(requestBytesMax)),
		grpc.WithStreamInterceptor(introduce(cfg.ClusterID, node)),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
	)
}

// hostConn is a connection to a host that was named.
type hostConn struct {
	net.Conn
	host string
}

// hostCredentials verify that a certificate is good for the host that was dialed:
// the library knows the node's id alone.
type hostCredentials struct {
	credentials.TransportCredentials
}

// ClientHandshake implements credentials.TransportCredentials.
func (c hostCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if named, ok := raw.(hostConn); ok {
		authority, raw = named.host, named.Conn
	}
	return c.TransportCredentials.ClientHandshake(ctx, authority, raw)
}

// Clone implements credentials.TransportCredentials.
func (c hostCredentials) Clone() credentials.TransportCredentials {
	return hostCredentials{c.TransportCredentials.Clone()}
}
