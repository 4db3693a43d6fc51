package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A transcript is what a case saw of one side, in a form in which both sides
// must be the same: numbers that each side chooses are replaced.
//
//	cluster and member ids, terms   "set", when they are not 0
//	revisions                       relative to the revision that the case began at
//	leases                          L1, L2, ... in the order of their appearance
type transcript struct {
	prefix string
	base   int64
	leases []int64
	lines  []string
}

// note adds a line.
func (s *transcript) note(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// answer adds what a call answered.
func (s *transcript) answer(what string, message proto.Message, err error) {
	if err != nil {
		s.note("%s: %s", what, errorText(err))
		return
	}
	s.note("%s: %s", what, s.text(message.ProtoReflect()))
}

// errorText is a code and a message, wherever an error has them.
func errorText(err error) string {
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return fmt.Sprintf("error %s %q", e.Code(), e.Error())
	}
	if s, ok := status.FromError(err); ok {
		return fmt.Sprintf("error %s %q", s.Code(), s.Message())
	}
	return fmt.Sprintf("error %q", err.Error())
}

// text spells a message, its fields in the order of their numbers.
func (s *transcript) text(m protoreflect.Message) string {
	type field struct {
		descriptor protoreflect.FieldDescriptor
		value      protoreflect.Value
	}
	var fields []field
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		fields = append(fields, field{d, v})
		return true
	})
	slices.SortFunc(fields, func(a, b field) int { return int(a.descriptor.Number()) - int(b.descriptor.Number()) })
	var parts []string
	for _, f := range fields {
		if !f.descriptor.IsList() {
			parts = append(parts, string(f.descriptor.Name())+"="+s.value(f.descriptor, f.value))
			continue
		}
		var items []string
		for i := range f.value.List().Len() {
			items = append(items, s.value(f.descriptor, f.value.List().Get(i)))
		}
		parts = append(parts, string(f.descriptor.Name())+"=["+strings.Join(items, " ")+"]")
	}
	return "{" + strings.Join(parts, " ") + "}"
}

func (s *transcript) value(d protoreflect.FieldDescriptor, v protoreflect.Value) string {
	name := string(d.Name())
	switch {
	case d.Kind() == protoreflect.MessageKind:
		return s.text(v.Message())
	case name == "cluster_id" || name == "member_id" || name == "raft_term":
		return "set"
	case strings.HasSuffix(name, "revision"):
		return s.revision(v.Int())
	case d.Kind() == protoreflect.Int64Kind && (name == "lease" || name == "ID"):
		return s.lease(v.Int())
	case d.Kind() == protoreflect.BytesKind:
		return strconv.Quote(strings.TrimPrefix(string(v.Bytes()), s.prefix))
	case d.Kind() == protoreflect.EnumKind:
		return string(d.Enum().Values().ByNumber(v.Enum()).Name())
	default:
		return fmt.Sprint(v.Interface())
	}
}

func (s *transcript) revision(revision int64) string {
	if revision <= 0 {
		return strconv.FormatInt(revision, 10)
	}
	return fmt.Sprintf("r%+d", revision-s.base)
}

// lease is a short name for a lease.
func (s *transcript) lease(id int64) string {
	if id == 0 {
		return "0"
	}
	i := slices.Index(s.leases, id)
	if i < 0 {
		s.leases = append(s.leases, id)
		i = len(s.leases) - 1
	}
	return "L" + strconv.Itoa(i+1)
}
