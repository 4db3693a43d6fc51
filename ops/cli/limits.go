package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// limitFlags are limits of a tenant's own, as --limit name=value.
type limitFlags struct{ given []string }

func (l *limitFlags) bind(f *pflag.FlagSet) {
	f.StringArrayVar(&l.given, "limit", nil, "a limit of its own as `name=value`, such as requests_per_second=500; can be given more often")
}

// parse is the limits that were given; nil if none was.
func (l *limitFlags) parse() (*flotillav1.Limits, error) {
	if len(l.given) == 0 {
		return nil, nil //nolint:nilnil // none
	}
	limits := &flotillav1.Limits{}
	return limits, l.set(limits)
}

// over is the tenant's own limits with those that were given over them.
func (l *limitFlags) over(ctx context.Context, client adminv1connect.AdminServiceClient, tenant string, clear bool) (*flotillav1.Limits, error) {
	limits := &flotillav1.Limits{}
	if !clear {
		response, err := client.GetTenant(ctx, &adminv1.GetTenantRequest{Tenant: tenant})
		if err != nil {
			return nil, err
		}
		proto.Merge(limits, response.GetTenant().GetOwnLimits())
	}
	return limits, l.set(limits)
}

func (l *limitFlags) set(limits *flotillav1.Limits) error {
	message := limits.ProtoReflect()
	fields := message.Descriptor().Fields()
	for _, text := range l.given {
		name, value, _ := strings.Cut(text, "=")
		field := fields.ByName(protoreflect.Name(name))
		if field == nil {
			return usageError{fmt.Errorf("--limit: there is no limit %q: it takes %s", name, strings.Join(limitNames(fields), ", "))}
		}
		number, err := strconv.ParseUint(value, 10, 63)
		if err != nil {
			return usageError{fmt.Errorf("--limit: %s takes a whole number, not %q", name, value)}
		}
		message.Set(field, protoreflect.ValueOfUint64(number))
	}
	return nil
}

func limitNames(fields protoreflect.FieldDescriptors) []string {
	var names []string
	for i := range fields.Len() {
		names = append(names, string(fields.Get(i).Name()))
	}
	slices.Sort(names)
	return names
}
