package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

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

// Joining is a node that comes.
type Joining struct {
	// ClusterID is the cluster that it belongs to.
	ClusterID string
	// NodeID is its id.
	NodeID string
	// Node is what it says of itself; its state and times are set here.
	Node *internalv1.NodeRecord
}

// RefusedError says that a node must not join, and what its operator has to see
// to. Trying again is no use.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }

// refuse is an answer that an operator must see to.
func refuse(format string, args ...any) error {
	return &RefusedError{Why: fmt.Sprintf(format, args...)}
}

// Join writes a node into the catalog, as a new one or as one that started again,
// and returns what it needs to begin. It refuses with *RefusedError; after any
// other error it is worth trying again.
func (m *Membership) Join(ctx context.Context, node Joining) (*internalv1.Directory, error) {
	if err := checkJoin(&node); err != nil {
		return nil, err
	}
	doorbell := &doorbell{hello: m.hello, self: m.self, answers: make(map[string]*internalv1.HelloResponse)}
	for range joinAttemptsMax {
		records, err := m.catalog.Records(ctx)
		if err != nil {
			return nil, fmt.Errorf("the cluster's records cannot be read: %w", err)
		}
		change, err := m.admit(ctx, records, &node, doorbell)
		if err != nil {
			return nil, err
		}
		if change == nil {
			return records.Directory, nil
		}
		err = m.catalog.Commit(ctx, change)
		if err != nil && !errors.Is(err, catalog.ErrConflict) {
			return nil, fmt.Errorf("the node cannot be written down: %w", err)
		}
	}
	return nil, errors.New("others change the cluster at the same time: try again")
}
