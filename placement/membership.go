package placement

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/placement/catalog"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// HelloFunc asks who answers at a peer address.
type HelloFunc func(ctx context.Context, address string, request *internalv1.HelloRequest) (*internalv1.HelloResponse, error)

// Membership is the service by which nodes meet.
type Membership struct {
	internalv1.UnimplementedMembershipServiceServer

	self      Self
	catalog   *catalog.Catalog
	directory *catalog.Directory
	hello     HelloFunc
	now       func() time.Time
	log       *slog.Logger
}

// NewMembership makes the service of a node.
func NewMembership(self Self, cat *catalog.Catalog, directory *catalog.Directory, hello HelloFunc, now func() time.Time, log *slog.Logger) *Membership {
	return &Membership{self: self, catalog: cat, directory: directory, hello: hello, now: now, log: log}
}

// Hello implements MembershipServiceServer. It needs nobody else.
func (m *Membership) Hello(context.Context, *internalv1.HelloRequest) (*internalv1.HelloResponse, error) {
	return &internalv1.HelloResponse{
		ClusterId: m.self.ClusterID, NodeId: m.self.NodeID, BootId: m.self.BootID,
		TimeUs: uint64(m.now().UnixMicro()), Level: m.directory.Level(), Directory: m.directory.Records(),
	}, nil
}

// joinAttemptsMax bounds how often a join is tried again because somebody else
// changed the records.
const joinAttemptsMax = 16

// Join implements MembershipServiceServer. Its errors have one of these codes:
// InvalidArgument and FailedPrecondition for what an operator must see to, and
// Unavailable when it is worth trying again, here or on another node.
func (m *Membership) Join(ctx context.Context, req *internalv1.JoinRequest) (*internalv1.JoinResponse, error) {
	if err := checkJoin(req); err != nil {
		return nil, err
	}
	doorbell := &doorbell{hello: m.hello, self: m.self, answers: make(map[string]*internalv1.HelloResponse)}
	for range joinAttemptsMax {
		records, err := m.catalog.Records(ctx)
		if err != nil {
			return nil, status.Errorf(codes.Unavailable, "the cluster's records cannot be read: %s", err)
		}
		change, err := m.admit(ctx, records, req, doorbell)
		if err != nil {
			return nil, err
		}
		if change == nil {
			return &internalv1.JoinResponse{Directory: records.Directory}, nil
		}
		err = m.catalog.Commit(ctx, change)
		if err != nil && !errors.Is(err, catalog.ErrConflict) {
			return nil, status.Errorf(codes.Unavailable, "the node cannot be written down: %s", err)
		}
	}
	return nil, status.Error(codes.Unavailable, "others change the cluster at the same time: try again")
}
