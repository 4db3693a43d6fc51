package catalog

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// Act is an administrative call: who makes it, from where, and what it is.
type Act struct {
	// Actor is who, such as "operator:eve" or "key:acme/abcdefghijklmnop".
	Actor string
	// Address is where the call came from; empty for a program of the platform.
	Address string
	// Procedure is what was called, such as "AdminService.SuspendTenant".
	Procedure string
	// RequestID is the id of the call in logs and errors.
	RequestID string
}

// ActorPlatform is the actor of what the platform does by itself, such as removing a
// tenant's data when its grace period is over.
const ActorPlatform = "flotilla"

type actKey struct{}

// WithAct returns a context whose changes of the catalog are noted in the audit log
// as part of an act.
func WithAct(ctx context.Context, act Act) context.Context {
	return context.WithValue(ctx, actKey{}, act)
}

// auditDetailBytesMax bounds what one entry tells, in bytes: entries stay for ever.
const auditDetailBytesMax = 1 << 10

// audit has the change written to the audit log with it, in one transaction: there
// is no act without its entry, and no entry without its act. The detail must hold no
// secret.
func (c *Catalog) audit(ctx context.Context, t *change, tenant tenancy.TenantID, subject, detail string) {
	act, _ := ctx.Value(actKey{}).(Act)
	t.put(auditKey(c.now(), rand.Text()), &internalv1.AuditRecord{Entry: &adminv1.AuditEntry{
		Actor: cmp.Or(act.Actor, ActorPlatform), Address: act.Address, Act: act.Procedure, RequestId: act.RequestID,
		Tenant: string(tenant), Subject: subject, Detail: shortened(detail, auditDetailBytesMax),
	}})
}

// AuditFilter says which acts to list.
type AuditFilter struct {
	// Tenant is the one that they are about; empty is all.
	Tenant tenancy.TenantID
	// Actor is who has acted; empty is all.
	Actor string
	// Since is the earliest moment; zero is the beginning.
	Since time.Time
	// Before is the id of an entry; only older ones are listed. Empty is from the
	// newest on.
	Before string
	// Limit is how many are listed at most.
	Limit int
}

func (f *AuditFilter) passes(entry *adminv1.AuditEntry) bool {
	return (f.Tenant == "" || entry.GetTenant() == string(f.Tenant)) && (f.Actor == "" || entry.GetActor() == f.Actor)
}

// auditVisitedMax bounds the entries that one listing looks at, of which a filter
// may leave few.
const auditVisitedMax = 10_000

// ListAudit lists acts, the newest first. next is the id to go on before, "" at the
// end: with a filter, a page may have fewer entries than the limit, even none,
// before the end.
func (c *Catalog) ListAudit(ctx context.Context, f AuditFilter) (list []*adminv1.AuditEntry, next string, err error) {
	part := span{prefix: auditPrefix, before: f.Before, newestFirst: true, limit: uint64(f.Limit)}
	if !f.Since.IsZero() {
		part.after = fmt.Sprintf("%016x", max(f.Since.UnixMilli(), 1)-1) + "~" // after all of the millisecond before
	}
	for visited := 0; ; {
		var last string
		more, err := c.list(ctx, part, func(id string, kv *flotillav1.KeyValue) error {
			last = id
			visited++
			r, err := decode("audit log", kv.GetValue(), &internalv1.AuditRecord{})
			entry := r.GetEntry()
			if err != nil || !f.passes(entry) {
				return err
			}
			entry.Id = id
			entry.Time = timestamppb.New(auditTime(id))
			list = append(list, entry)
			return nil
		})
		switch {
		case err != nil:
			return nil, "", err
		case !more:
			return list, "", nil
		case len(list) >= f.Limit || visited >= auditVisitedMax:
			return list, last, nil
		}
		part.before, part.limit = last, uint64(f.Limit-len(list))
	}
}

// auditTime is the time of an entry by its id; the zero time if it has none.
func auditTime(id string) time.Time {
	moment, _, _ := strings.Cut(id, "-")
	ms, err := strconv.ParseInt(moment, 16, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// ValidAuditID tells whether a text may be the id of an entry.
func ValidAuditID(id string) bool {
	moment, chance, ok := strings.Cut(id, "-")
	return ok && len(moment) == 16 && len(chance) > 0 && len(id) <= 64
}
