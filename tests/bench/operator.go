package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"connectrpc.com/connect"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
)

// newOperator makes a client of a node's operators' port, with the credential that it
// keeps in its data directory.
func newOperator(info devInfo, dataDir string) (adminv1connect.AdminServiceClient, error) {
	token, err := os.ReadFile(filepath.Join(dataDir, "operator.token"))
	if err != nil {
		return nil, err
	}
	credential := "Bearer " + strings.TrimSpace(string(token))
	interceptor := connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			req.Header().Set("Authorization", credential)
			return next(ctx, req)
		}
	})
	return adminv1connect.NewAdminServiceClient(http.DefaultClient, info.OpsURL, connect.WithInterceptors(interceptor)), nil
}

// createTenants creates tenants, and returns their API keys.
func createTenants(ctx context.Context, operator adminv1connect.AdminServiceClient, list ...*adminv1.NewTenant) ([]string, error) {
	response, err := operator.CreateTenants(ctx, &adminv1.CreateTenantsRequest{Tenants: list})
	if err != nil {
		return nil, err
	}
	keys := make([]string, len(list))
	for i, made := range response.GetResults() {
		if made.GetError() != nil {
			return nil, errors.New(made.GetError().GetMessage())
		}
		keys[i] = made.GetSecret()
	}
	return keys, nil
}
