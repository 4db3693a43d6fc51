package gateway

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flotillakv/flotilla/placement/catalog"
	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/tenancy"
)

const (
	usageTimeDefault = 24 * time.Hour
	usageTimeMax     = 31 * 24 * time.Hour
	// usageNamespacesOfPage is of how many namespaces the shards are asked at once.
	usageNamespacesOfPage = 1000
)

// GetUsage implements TenantService.
func (h *tenantHandler) GetUsage(ctx context.Context, req *flotillav1.GetUsageRequest) (*flotillav1.GetUsageResponse, error) {
	principal, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	return h.usageOf(ctx, principal.Tenant, req)
}

// GetUsage implements AdminService.
func (h *adminHandler) GetUsage(ctx context.Context, req *adminv1.GetUsageRequest) (*adminv1.GetUsageResponse, error) {
	tenant, err := tenantID(req.GetTenant())
	if err != nil {
		return nil, err
	}
	if _, err := h.catalog.Tenant(ctx, tenant); err != nil {
		return nil, err
	}
	usage, err := h.usageOf(ctx, tenant, req.GetUsage())
	if err != nil {
		return nil, err
	}
	return &adminv1.GetUsageResponse{Usage: usage}, nil
}

// usageOf answers what a tenant has used: what gateways have written, and what its
// namespaces store.
func (a *administration) usageOf(ctx context.Context, tenant tenancy.TenantID, req *flotillav1.GetUsageRequest) (*flotillav1.GetUsageResponse, error) {
	now := a.now()
	first, last, err := usageHours(req, now)
	if err != nil {
		return nil, err
	}
	// That of this node is to be fresh; what cannot be written now will be.
	_ = a.kv.Meter().Flush(ctx, tenant)
	counted, err := a.catalog.Usage(ctx, tenant, first, last)
	if err != nil {
		return nil, err
	}
	byHour := make(map[uint64]*flotillav1.Usage, len(counted))
	for _, hour := range counted {
		byHour[hour.Hour] = hour.Usage
	}
	if err := a.addStored(ctx, byHour, tenant, first, last, now); err != nil {
		return nil, err
	}
	response := &flotillav1.GetUsageResponse{Total: &flotillav1.Usage{}}
	for _, hour := range slices.Sorted(maps.Keys(byHour)) {
		catalog.AddUsage(response.Total, byHour[hour])
		response.Hours = append(response.Hours, &flotillav1.UsageHour{
			StartTime: timestamppb.New(time.Unix(int64(hour)*3600, 0)), Usage: byHour[hour],
		})
	}
	return response, nil
}

// usageHours are the first and the last hour that are asked for, since 1970.
func usageHours(req *flotillav1.GetUsageRequest, now time.Time) (first, last uint64, err error) {
	end := now
	if req.GetEndTime() != nil {
		end = req.GetEndTime().AsTime()
	}
	start := end.Add(-usageTimeDefault)
	if req.GetStartTime() != nil {
		start = req.GetStartTime().AsTime()
	}
	switch {
	case start.Unix() < 0:
		return 0, 0, &mvcc.InvalidError{Field: "start_time", Message: "must not be before 1970"}
	case end.Before(start):
		return 0, 0, &mvcc.InvalidError{Field: "end_time", Message: "must not be before start_time"}
	case end.Sub(start) > usageTimeMax:
		return 0, 0, &mvcc.InvalidError{Field: "end_time", Message: "must be at most 31 days after start_time"}
	}
	return uint64(start.Unix()) / 3600, uint64(end.Unix()) / 3600, nil
}

// addStored adds what the tenant's namespaces have stored, by hour.
func (a *administration) addStored(
	ctx context.Context, byHour map[uint64]*flotillav1.Usage, tenant tenancy.TenantID, first, last uint64, now time.Time,
) error {
	for after := ""; ; {
		byShard, next, err := a.catalog.NamespacesByShard(ctx, tenant, after, usageNamespacesOfPage)
		if err != nil {
			return err
		}
		for shard, namespaces := range byShard {
			stored, err := a.kv.StoredUsage(ctx, tenant, shard, namespaces, first, last, now)
			if err != nil {
				return err
			}
			for hour, byteSeconds := range stored {
				if byHour[hour] == nil {
					byHour[hour] = &flotillav1.Usage{}
				}
				byHour[hour].StoredByteSeconds += byteSeconds
			}
		}
		if after = next; after == "" {
			return nil
		}
	}
}
