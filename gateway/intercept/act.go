package intercept

import (
	"context"
	"strings"

	"github.com/flotillakv/flotilla/placement/catalog"
)

// withAct has what a call changes in the catalog noted in the audit log as its act.
func withAct(ctx context.Context, c call, actor string) context.Context {
	if !administers(c.procedure) {
		return ctx
	}
	return catalog.WithAct(ctx, catalog.Act{
		Actor: actor, Address: c.peer, Procedure: shortProcedure(c.procedure), RequestID: RequestID(ctx),
	})
}

// administers tells which calls may change the catalog, so that the others, which
// are many, carry nothing for it.
func administers(procedure string) bool {
	return strings.HasPrefix(procedure, "/flotilla.v1.TenantService/") || strings.HasPrefix(procedure, "/flotilla.admin.v1.")
}

// shortProcedure is a procedure without its package: "AdminService.GetTenant".
func shortProcedure(procedure string) string {
	service, method, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
	return service[strings.LastIndexByte(service, '.')+1:] + "." + method
}
