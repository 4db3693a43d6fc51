package etcd

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// authServer serves etcdserverpb.Auth. Users are API keys: what manages users
// and roles in etcd is refused, and says how it is done here.
type authServer struct {
	pb.UnimplementedAuthServer
	*Server
}

// Authenticate implements Auth. It takes as long for a key that does not exist
// as for a wrong secret, and says the same.
func (s *authServer) Authenticate(ctx context.Context, req *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	u, err := intercept.ParseUser(req.GetName())
	if err != nil {
		return nil, rpctypes.ErrGRPCAuthFailed
	}
	text := req.GetPassword()
	if _, err := auth.ParseAPIKey(text); err != nil && u.KeyID != "" && !auth.IsToken(text) {
		text = "flk_" + u.KeyID + "_" + text // the secret alone
	}
	principal, err := s.door.auth.Credential(ctx, text, s.door.address(ctx))
	if errors.Is(err, tenancy.ErrUnauthenticated) || err == nil &&
		(u.Tenant != "" && u.Tenant != principal.Tenant || u.KeyID != "" && u.KeyID != principal.KeyID) {
		return nil, rpctypes.ErrGRPCAuthFailed
	}
	if err != nil {
		return nil, err
	}
	place, err := s.door.placeOf(tenancy.NewContext(ctx, principal), principal, u.Namespace)
	if err != nil {
		return nil, err
	}
	c := &caller{principal: principal, namespace: u.Namespace, place: place}
	return &pb.AuthenticateResponse{Header: s.header(c, 0), Token: formatToken(text, u.Namespace)}, nil
}

// AuthStatus implements Auth: authentication is always on.
func (s *authServer) AuthStatus(ctx context.Context, _ *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	return &pb.AuthStatusResponse{Header: s.header(callerFrom(ctx), 0), Enabled: true, AuthRevision: 1}, nil
}

// unmanaged refuses the management of users and roles.
func unmanaged(what string) error {
	return status.Error(codes.Unimplemented, fmt.Sprintf(
		"flotilla: %s is not served: users are API keys here, which `flotilla key create`, `list` and `revoke` manage", what))
}
