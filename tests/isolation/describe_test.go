package isolation

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// varying are the fields that differ from call to call by chance or by the clock.
// Only whether they are there is compared.
var varying = []protoreflect.Name{
	"create_time", "expire_time", "start_time", "secret", "token", "replaced_by",
	"remaining_ttl", "cluster_id", "request_id",
}

// describe spells a message out, in the order of its fields' numbers.
func describe(m protoreflect.Message) string {
	var text strings.Builder
	var fields []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if f.Name() != "last_use_time" { // it is noted in the background: there or not there yet
			fields = append(fields, f)
		}
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return cmp.Compare(a.Number(), b.Number()) })
	for _, f := range fields {
		value := m.Get(f)
		fmt.Fprintf(&text, "%s:", f.Name())
		switch {
		case slices.Contains(varying, f.Name()) || f.FullName() == "flotilla.v1.APIKey.id":
			text.WriteString("*")
		case f.IsMap():
			var entries []string
			value.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				entries = append(entries, fmt.Sprintf("%v=%v", k, v))
				return true
			})
			slices.Sort(entries)
			fmt.Fprint(&text, entries)
		case f.IsList():
			var elements []string
			for i := range value.List().Len() {
				elements = append(elements, describeValue(f, value.List().Get(i)))
			}
			if f.Name() == "api_keys" { // in the order of their ids, which are chance
				slices.Sort(elements)
			}
			fmt.Fprint(&text, elements)
		default:
			text.WriteString(describeValue(f, value))
		}
		text.WriteString(" ")
	}
	return text.String()
}

func describeValue(f protoreflect.FieldDescriptor, value protoreflect.Value) string {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return "{" + describe(value.Message()) + "}"
	case protoreflect.BytesKind, protoreflect.StringKind:
		return fmt.Sprintf("%q", value)
	default:
		return value.String()
	}
}

// keyID is an id of an API key, which is a chance too.
var keyID = regexp.MustCompile(`\b[a-z2-7]{16}\b`)

// text is all that a caller is told, as one tenant would be told what another is. What
// it has said itself, such as the name of a namespace, stands in it as "?".
func (a answer) text(said ...string) string {
	var text string
	switch failed := new(connect.Error); {
	case a.err == nil:
		text = describe(a.message)
	case errors.As(a.err, &failed):
		text = fmt.Sprintf("%s %s", failed.Code(), failed.Message())
		for _, detail := range failed.Details() {
			text += " " + detail.Type()
			if message, err := detail.Value(); err == nil {
				text += describe(message.ProtoReflect())
			}
		}
	default:
		told := status.Convert(a.err)
		text = fmt.Sprintf("%s %s", told.Code(), told.Message())
		for _, detail := range told.Details() {
			if message, ok := detail.(proto.Message); ok {
				text += " " + describe(message.ProtoReflect())
			}
		}
	}
	for _, one := range said {
		text = strings.ReplaceAll(text, one, "?")
	}
	return keyID.ReplaceAllString(text, "*")
}
