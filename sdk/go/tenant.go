package flotilla

import (
	"context"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// NamespaceInfo describes a namespace.
type NamespaceInfo struct {
	Name       string
	CreateTime time.Time
}

// CreateNamespaces creates up to 100 namespaces of the tenant, all or none. It
// returns ErrAlreadyExists if there is one of these names.
func (c *Client) CreateNamespaces(ctx context.Context, names ...string) error {
	// Not tried again: whether a lost answer was a success is seen by listing.
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	_, err := c.tenants.CreateNamespaces(ctx, &flotillav1.CreateNamespacesRequest{Names: names})
	if err != nil {
		return fromConnect(err)
	}
	return nil
}

// Namespaces visits the tenant's namespaces by name. An error is the last
// thing that it yields.
func (c *Client) Namespaces(ctx context.Context) iter.Seq2[NamespaceInfo, error] {
	return func(yield func(NamespaceInfo, error) bool) {
		req := &flotillav1.ListNamespacesRequest{}
		for {
			page, err := tryAgain(ctx, c, req, c.tenants.ListNamespaces)
			if err != nil {
				yield(NamespaceInfo{}, err)
				return
			}
			for _, ns := range page.GetNamespaces() {
				if !yield(NamespaceInfo{Name: ns.GetName(), CreateTime: ns.GetCreateTime().AsTime()}, nil) {
					return
				}
			}
			if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
				return
			}
		}
	}
}

// DeleteNamespaces deletes up to 100 namespaces with all that they hold, all or
// none. It returns ErrNamespaceNotFound if there is none of one of these names.
func (c *Client) DeleteNamespaces(ctx context.Context, names ...string) error {
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	if _, err := c.tenants.DeleteNamespaces(ctx, &flotillav1.DeleteNamespacesRequest{Names: names}); err != nil {
		return fromConnect(err)
	}
	return nil
}

// Limits tells the limits that hold for the tenant, and the plan that they come
// from.
func (c *Client) Limits(ctx context.Context) (limits *flotillav1.Limits, plan string, err error) {
	response, err := tryAgain(ctx, c, &flotillav1.GetLimitsRequest{}, c.tenants.GetLimits)
	return response.GetLimits(), response.GetPlan(), err
}

// Usage tells what the tenant has used, hour by hour, from the hour of start up to
// that of end, which are at most 31 days apart.
func (c *Client) Usage(ctx context.Context, start, end time.Time) (*flotillav1.GetUsageResponse, error) {
	req := &flotillav1.GetUsageRequest{StartTime: timestamppb.New(start), EndTime: timestamppb.New(end)}
	return tryAgain(ctx, c, req, c.tenants.GetUsage)
}

// tryAgain makes a unary call that may be tried again: a read, or one with a
// request id.
func tryAgain[Req, Res any](ctx context.Context, c *Client, req *Req, call func(context.Context, *Req) (*Res, error)) (response *Res, err error) {
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	visitor := visitor{all: c.endpoints}
	err = c.retry(ctx, c.deadline(ctx), func(ctx context.Context) (err error) {
		visitor.visit(c.endpoints.present())
		if response, err = call(ctx, req); err != nil {
			err = fromConnect(err)
		}
		visitor.ended(err)
		return err
	})
	return response, err
}

func (c *Client) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.cfg.Timeout)
}
