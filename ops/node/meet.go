package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

const (
	// helloTimeout is how long another node may take to say who it is.
	helloTimeout = 3 * time.Second
	// meetMax bounds how many nodes are asked at once.
	meetMax = 16
	// Waits between attempts, with full jitter under a bound that doubles.
	againFirst = 50 * time.Millisecond
	againMax   = 2 * time.Second
)

// hello asks whoever is at a peer address who it is.
func (n *Node) hello(ctx context.Context, address string) (*internalv1.HelloResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	conn, err := n.dialPeer(address)
	if err != nil {
		return nil, fmt.Errorf("ask %s who it is: %w", address, err)
	}
	defer func() { _ = conn.Close() }() // what it was for has been answered
	request := &internalv1.HelloRequest{BootId: n.bootID}
	if n.dir != nil {
		request.NodeId, request.ClusterId = n.dir.Identity().NodeID, n.dir.Identity().ClusterID
	}
	if n.introduces {
		request.Node = n.record()
	}
	response, err := internalv1.NewMembershipServiceClient(conn).Hello(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("ask %s who it is: %w", address, err)
	}
	if n.dir != nil && response.GetClusterId() == n.dir.Identity().ClusterID {
		n.noteSeen(response.GetNodeId(), response.GetNode())
	}
	return response, nil
}

// dialPeer connects to a peer address, before the directory can be trusted to say
// whose it is.
func (n *Node) dialPeer(address string) (*grpc.ClientConn, error) {
	security := insecure.NewCredentials()
	if n.tls.clusterClient != nil {
		security = credentials.NewTLS(n.tls.clusterClient)
	}
	dialer := net.Dialer{Timeout: helloTimeout}
	if from := source(n.cfg.ListenPeer); from != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: from}
	}
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(security),
		grpc.WithContextDialer(func(ctx context.Context, target string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", target)
		}),
	)
}

// meet asks up to meetMax of the addresses, which of them is chance, and returns
// those that answer, this node itself left out, and why the others did not.
func (n *Node) meet(ctx context.Context, addresses []string) (found []*internalv1.HelloResponse, failed error) {
	asked := make([]string, 0, meetMax)
	for _, i := range rand.Perm(len(addresses)) { //nolint:gosec // it spreads the asking, and guards nothing
		if len(asked) < meetMax {
			asked = append(asked, addresses[i])
		}
	}
	responses := make([]*internalv1.HelloResponse, len(asked))
	errs := make([]error, len(asked))
	var asking sync.WaitGroup
	for i, address := range asked {
		asking.Go(func() { responses[i], errs[i] = n.hello(ctx, address) })
	}
	asking.Wait()
	for _, response := range responses {
		if response != nil && response.GetBootId() != n.bootID {
			found = append(found, response)
		}
	}
	return found, errors.Join(errs...)
}

// finalError ends a loop of attempts.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

func final(err error) error { return &finalError{err} }

// againQuiet is for how long it is no cause for a warning that attempts fail: nodes that
// start together wait for each other.
const againQuiet = 5 * time.Second

// again makes attempts until one succeeds, fails for good, or ctx ends. Of what
// goes wrong it tells each new reason.
func again(ctx context.Context, log *slog.Logger, what string, attempt func(context.Context) error) error {
	wait, told, began := againFirst, "", time.Now()
	level := slog.LevelInfo
	for {
		err := attempt(ctx)
		if err == nil {
			return nil
		}
		if last, ok := errors.AsType[*finalError](err); ok {
			return last.err
		}
		if level < slog.LevelWarn && time.Since(began) > againQuiet {
			level, told = slog.LevelWarn, ""
		}
		if reason := err.Error(); reason != told && ctx.Err() == nil {
			told = reason
			log.Log(ctx, level, what+" does not work yet, and is tried again", "err", err) //nolint:sloglint // one of a few constants
		}
		timer := time.NewTimer(rand.N(wait)) //nolint:gosec // spreads attempts, guards nothing
		wait = min(2*wait, againMax)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
