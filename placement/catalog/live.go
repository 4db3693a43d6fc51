package catalog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// leasesMax bounds the leases of the system namespace: one for each node, and
// those that ended nodes leave for a few seconds.
const leasesMax = 100_000

// ClonedError says that another process has joined with a node's identity: one of
// the two runs on a copy of the other's data directory.
type ClonedError struct {
	// NodeID is the identity that both have.
	NodeID string
	// BootID is the process that joined last.
	BootID string
}

func (e *ClonedError) Error() string {
	return fmt.Sprintf("another process joined as node %s: the data directory was copied; run one of the two, and give the other an empty directory", e.NodeID)
}

// GrantLiveLease begins a lease for a node's sign of life. ttl is in whole
// seconds.
func (c *Catalog) GrantLiveLease(ctx context.Context, ttl time.Duration) (lease int64, err error) {
	var b [8]byte
	rand.Read(b[:]) // it never fails
	lease = int64(binary.LittleEndian.Uint64(b[:])>>1 | 1)
	_, err = c.propose(ctx, &internalv1.Command{Operation: &internalv1.Command_GrantLease{GrantLease: &internalv1.GrantLease{
		Request:   &flotillav1.GrantLeaseRequest{RequestId: rand.Text(), Id: lease, Ttl: durationpb.New(ttl)},
		LeasesMax: leasesMax,
	}}})
	return lease, err
}

// KeepLive renews the lease of a node's sign of life. kept is false if the lease
// has ended.
func (c *Catalog) KeepLive(ctx context.Context, lease int64) (kept bool, err error) {
	response, err := c.propose(ctx, &internalv1.Command{Operation: &internalv1.Command_KeepAlive{
		KeepAlive: &flotillav1.KeepAliveRequest{Ids: []int64{lease}},
	}})
	if err != nil {
		return false, err
	}
	answer, ok := response.(*flotillav1.KeepAliveResponse)
	return ok && len(answer.GetLeases()) == 1 && answer.GetLeases()[0].GetTtl().AsDuration() > 0, nil
}

// EndLive ends the lease of a node's sign of life, and the sign with it.
func (c *Catalog) EndLive(ctx context.Context, lease int64) error {
	_, err := c.propose(ctx, &internalv1.Command{Operation: &internalv1.Command_RevokeLease{
		RevokeLease: &flotillav1.RevokeLeaseRequest{RequestId: rand.Text(), Id: lease},
	}})
	return err
}

// ShowLive attaches a node's sign of life to its lease, unless it is there
// already. Who joined last under the node's id is the node: every other process
// gets a *ClonedError. A node without a record gets ErrNodeNotFound.
func (c *Catalog) ShowLive(ctx context.Context, node, boot string, lease int64) error {
	return retryConflicts(ctx, func() error {
		r, err := read(ctx, c, nodeKey(node), &internalv1.NodeRecord{})
		switch {
		case err != nil:
			return err
		case !r.exists():
			return fmt.Errorf("node %s: %w", node, ErrNodeNotFound)
		case r.message.GetBootId() != boot:
			return &ClonedError{NodeID: node, BootID: r.message.GetBootId()}
		}
		live, err := query[*flotillav1.GetResponse](ctx, c, &flotillav1.GetRequest{Key: []byte(liveKey(node))})
		if err != nil {
			return fmt.Errorf("read a sign of life from the catalog: %w", err)
		}
		if string(live.GetKv().GetValue()) == boot && live.GetKv().GetLease() == lease {
			return nil
		}
		var t change
		t.expect(nodeKey(node), r.revision)
		t.write(&flotillav1.PutRequest{Key: []byte(liveKey(node)), Value: []byte(boot), Lease: lease})
		return c.commit(ctx, &t)
	})
}
