package flotilla

import (
	"context"
	"iter"
	"time"

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

// APIKeyInfo describes an API key, never its secret.
type APIKeyInfo struct {
	ID          string
	Description string
	CreateTime  time.Time
}

// CreateAPIKey makes an API key of the tenant. The secret is the whole key; it
// is told only here.
func (c *Client) CreateAPIKey(ctx context.Context, description string) (info APIKeyInfo, secret string, err error) {
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	response, err := c.tenants.CreateAPIKey(ctx, &flotillav1.CreateAPIKeyRequest{Description: description})
	if err != nil {
		return APIKeyInfo{}, "", fromConnect(err)
	}
	return apiKeyInfo(response.GetApiKey()), response.GetSecret(), nil
}

// APIKeys lists the tenant's API keys by id.
func (c *Client) APIKeys(ctx context.Context) ([]APIKeyInfo, error) {
	response, err := tryAgain(ctx, c, &flotillav1.ListAPIKeysRequest{}, c.tenants.ListAPIKeys)
	if err != nil {
		return nil, err
	}
	var list []APIKeyInfo
	for _, key := range response.GetApiKeys() {
		list = append(list, apiKeyInfo(key))
	}
	return list, nil
}

func apiKeyInfo(key *flotillav1.APIKey) APIKeyInfo {
	return APIKeyInfo{ID: key.GetId(), Description: key.GetDescription(), CreateTime: key.GetCreateTime().AsTime()}
}

// RevokeAPIKey ends an API key at once.
func (c *Client) RevokeAPIKey(ctx context.Context, id string) error {
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	if _, err := c.tenants.RevokeAPIKey(ctx, &flotillav1.RevokeAPIKeyRequest{Id: id}); err != nil {
		return fromConnect(err)
	}
	return nil
}

// tryAgain makes a unary call that may be tried again: a read, or one with a
// request id.
func tryAgain[Req, Res any](ctx context.Context, c *Client, req *Req, call func(context.Context, *Req) (*Res, error)) (response *Res, err error) {
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	err = c.retry(ctx, c.deadline(ctx), func(ctx context.Context) (err error) {
		if response, err = call(ctx, req); err != nil {
			return fromConnect(err)
		}
		return nil
	})
	return response, err
}

func (c *Client) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.cfg.Timeout)
}
