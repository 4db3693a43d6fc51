package flotilla

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// Permission allows actions on the keys and names of a namespace that begin with a
// prefix.
type Permission = flotillav1.Permission

// What a credential may do; see Permission.
const (
	ActionRead         = flotillav1.Action_ACTION_READ
	ActionWrite        = flotillav1.Action_ACTION_WRITE
	ActionWatch        = flotillav1.Action_ACTION_WATCH
	ActionLease        = flotillav1.Action_ACTION_LEASE
	ActionLock         = flotillav1.Action_ACTION_LOCK
	ActionQueueSend    = flotillav1.Action_ACTION_QUEUE_SEND
	ActionQueueReceive = flotillav1.Action_ACTION_QUEUE_RECEIVE
	ActionAdmin        = flotillav1.Action_ACTION_ADMIN
)

// APIKeySpec says what an API key shall be.
type APIKeySpec struct {
	// Description is what it is for; up to 256 bytes.
	Description string
	// Expire is when it ends; zero if it does not.
	Expire time.Time
	// Permissions are what it allows, up to 64; none is everything in the tenant.
	Permissions []*Permission
}

// APIKeyInfo describes an API key, never its secret.
type APIKeyInfo struct {
	ID          string
	Description string
	CreateTime  time.Time
	// Expire is when it ends; zero if it does not.
	Expire time.Time
	// Permissions are what it allows.
	Permissions []*Permission
	// LastUse is when it was used last, give or take ten minutes; zero if it never
	// was.
	LastUse time.Time
	// ReplacedBy is the id of the key that was made to take its place.
	ReplacedBy string
}

// CreateAPIKey makes an API key of the tenant. The secret is the whole key; it
// is told only here.
func (c *Client) CreateAPIKey(ctx context.Context, spec APIKeySpec) (info APIKeyInfo, secret string, err error) {
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	response, err := c.tenants.CreateAPIKey(ctx, &flotillav1.CreateAPIKeyRequest{
		Description: spec.Description, ExpireTime: timestampOf(spec.Expire), Permissions: spec.Permissions,
	})
	if err != nil {
		return APIKeyInfo{}, "", fromConnect(err)
	}
	return apiKeyInfo(response.GetApiKey()), response.GetSecret(), nil
}

// timestampOf is absent for the zero time.
func timestampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// timeOf is the zero time for one that is absent.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
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
	return APIKeyInfo{
		ID: key.GetId(), Description: key.GetDescription(), CreateTime: key.GetCreateTime().AsTime(), Expire: timeOf(key.GetExpireTime()),
		Permissions: key.GetPermissions(), LastUse: timeOf(key.GetLastUseTime()), ReplacedBy: key.GetReplacedBy(),
	}
}

// RotateAPIKey makes a key that allows the same as another, which is still good for
// the overlap, of up to 30 days. The new one has the other one's lifetime, from now
// on. The secret is the whole new key; it is told only here.
func (c *Client) RotateAPIKey(ctx context.Context, id string, overlap time.Duration) (made, replaced APIKeyInfo, secret string, err error) {
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	response, err := c.tenants.RotateAPIKey(ctx, &flotillav1.RotateAPIKeyRequest{Id: id, Overlap: durationpb.New(overlap)})
	if err != nil {
		return APIKeyInfo{}, APIKeyInfo{}, "", fromConnect(err)
	}
	return apiKeyInfo(response.GetApiKey()), apiKeyInfo(response.GetReplaced()), response.GetSecret(), nil
}

// RevokeAPIKey ends an API key within two seconds, for open streams too.
func (c *Client) RevokeAPIKey(ctx context.Context, id string) error {
	ctx, cancel := c.withTimeout(ctx)
	defer cancel()
	if _, err := c.tenants.RevokeAPIKey(ctx, &flotillav1.RevokeAPIKeyRequest{Id: id}); err != nil {
		return fromConnect(err)
	}
	return nil
}
