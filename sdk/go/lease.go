package flotilla

import (
	"context"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// Leases is the leases of one namespace: time-bound ownership that keys can be
// attached to (PutOptions.Lease). A lease that is not kept alive ends between
// its TTL and a second later, never earlier, and its keys are deleted in one
// revision. Hold makes one that is kept alive by itself.
type Leases struct {
	client    *Client
	namespace string
}

// GrantOptions says how to begin a lease.
type GrantOptions struct {
	// ID is the lease's id, greater than 0. By default the server chooses.
	ID int64
	// RequestID names the grant; see PutOptions.
	RequestID string
}

// GrantResult is a lease that has begun.
type GrantResult struct {
	// ID is the lease's id.
	ID int64
	// TTL is how long it lasts without being kept alive, in whole seconds.
	TTL time.Duration
	// Revision is the namespace's revision.
	Revision uint64
}

// Grant begins a lease that lasts ttl unless it is kept alive: 1 s to
// 9,000,000,000 s, parts of a second rounded up. It returns ErrLeaseExists if
// the id is taken.
func (l *Leases) Grant(ctx context.Context, ttl time.Duration, opts *GrantOptions) (*GrantResult, error) {
	if opts == nil {
		opts = &GrantOptions{}
	}
	req := &flotillav1.GrantLeaseRequest{
		Namespace: l.namespace, RequestId: l.requestID(opts.RequestID), Id: opts.ID, Ttl: durationpb.New(ttl),
	}
	response, err := tryAgain(ctx, l.client, req, l.client.leases.GrantLease)
	if err != nil {
		return nil, err
	}
	return &GrantResult{ID: response.GetId(), TTL: response.GetTtl().AsDuration(), Revision: response.GetRevision()}, nil
}

// keepAliveIDsMax is how many leases one request renews.
const keepAliveIDsMax = 10_000

// KeepAlive renews leases: each lasts its TTL from now on. It returns their TTLs
// in the order of the ids, 0 for one that is not there any more.
func (l *Leases) KeepAlive(ctx context.Context, ids ...int64) ([]time.Duration, error) {
	ttls := make([]time.Duration, 0, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), keepAliveIDsMax)
		req := &flotillav1.KeepAliveRequest{Namespace: l.namespace, Ids: ids[:n]}
		response, err := tryAgain(ctx, l.client, req, l.client.leases.KeepAlive)
		if err != nil {
			return nil, err
		}
		for _, kept := range response.GetLeases() {
			ttls = append(ttls, kept.GetTtl().AsDuration())
		}
		ids = ids[n:]
	}
	return ttls, nil
}

// RevokeResult is what the end of a lease did.
type RevokeResult struct {
	// Revision is the namespace's revision after it.
	Revision uint64
	// Deleted is how many keys went with it.
	Deleted uint64
}

// Revoke ends a lease and deletes its keys. It returns ErrLeaseNotFound if there
// is none.
func (l *Leases) Revoke(ctx context.Context, id int64) (*RevokeResult, error) {
	req := &flotillav1.RevokeLeaseRequest{Namespace: l.namespace, RequestId: l.client.ids.next(), Id: id}
	response, err := tryAgain(ctx, l.client, req, l.client.leases.RevokeLease)
	if err != nil {
		return nil, err
	}
	return &RevokeResult{Revision: response.GetRevision(), Deleted: response.GetDeleted()}, nil
}

// LeaseInfo is how a lease is.
type LeaseInfo struct {
	// ID is the lease's id.
	ID int64
	// GrantedTTL is how long it lasts without being kept alive.
	GrantedTTL time.Duration
	// RemainingTTL is how long it still lasts; never less than 0.
	RemainingTTL time.Duration
	// Keys are those attached to it, in byte order, if they were asked for.
	Keys []string
	// Revision is the namespace's revision.
	Revision uint64
}

// GetLeaseOptions says what to tell of a lease.
type GetLeaseOptions struct {
	// Keys asks for the keys that are attached to it.
	Keys bool
}

// Get tells how a lease is. It returns ErrLeaseNotFound if there is none.
func (l *Leases) Get(ctx context.Context, id int64, opts *GetLeaseOptions) (*LeaseInfo, error) {
	if opts == nil {
		opts = &GetLeaseOptions{}
	}
	req := &flotillav1.GetLeaseRequest{Namespace: l.namespace, Id: id, Keys: opts.Keys}
	response, err := tryAgain(ctx, l.client, req, l.client.leases.GetLease)
	if err != nil {
		return nil, err
	}
	info := &LeaseInfo{
		ID: response.GetId(), GrantedTTL: response.GetGrantedTtl().AsDuration(),
		RemainingTTL: response.GetRemainingTtl().AsDuration(), Revision: response.GetRevision(),
	}
	for _, key := range response.GetKeys() {
		info.Keys = append(info.Keys, string(key))
	}
	return info, nil
}

// List visits the ids of the namespace's leases, in their order. Leases may
// come and go meanwhile. An error is the last thing that it yields.
func (l *Leases) List(ctx context.Context) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		req := &flotillav1.ListLeasesRequest{Namespace: l.namespace}
		for {
			page, err := tryAgain(ctx, l.client, req, l.client.leases.ListLeases)
			if err != nil {
				yield(0, err)
				return
			}
			for _, id := range page.GetIds() {
				if !yield(id, nil) {
					return
				}
				req.AfterId = id
			}
			if !page.GetMore() {
				return
			}
		}
	}
}

func (l *Leases) requestID(own string) string {
	if own != "" {
		return own
	}
	return l.client.ids.next()
}
