package isolation

import (
	"errors"
	"slices"
	"testing"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// verdict is what became of a call, as far as permissions are concerned.
type verdict string

const (
	// served is a success, or a refusal that only who was let in is told.
	served          verdict = "served"
	unauthenticated verdict = "unauthenticated"
	denied          verdict = "denied"
	// unimplemented is what nobody may do.
	unimplemented verdict = "unimplemented"
)

// verdict tells what became of a call. An answer may hold the error of its only
// operation.
func (a answer) verdict() verdict {
	if a.err == nil {
		if a.message == nil { // of a typed client
			return served
		}
		if code := codeInside(a.message); code != 0 {
			return verdictOfCode(code)
		}
		return served
	}
	if failed := new(connect.Error); errors.As(a.err, &failed) {
		return verdictOfCode(failed.Code())
	}
	return verdictOfText(status.Code(a.err).String(), rpctypes.ErrorDesc(a.err))
}

// verdictOfCode is that of an RPC's code. What says that the request itself is wrong
// is none: it may have been said before anybody asked what the caller may do.
func verdictOfCode(code connect.Code) verdict {
	switch code {
	case connect.CodeUnauthenticated:
		return unauthenticated
	case connect.CodePermissionDenied:
		return denied
	case connect.CodeUnimplemented:
		return unimplemented
	case connect.CodeNotFound, connect.CodeAlreadyExists, connect.CodeOutOfRange, connect.CodeFailedPrecondition, connect.CodeAborted:
		return served
	default:
		return verdict(code.String())
	}
}

// verdictOfText is that of an error of the etcd port, whose services of locks and
// elections tell errors without their codes.
func verdictOfText(code, text string) verdict {
	is := func(list ...error) bool {
		return slices.ContainsFunc(list, func(e error) bool { return rpctypes.ErrorDesc(e) == text })
	}
	switch {
	case is(rpctypes.ErrGRPCInvalidAuthToken, rpctypes.ErrGRPCUserEmpty, rpctypes.ErrGRPCAuthFailed):
		return unauthenticated
	case is(rpctypes.ErrGRPCPermissionDenied):
		return denied
	case is(rpctypes.ErrGRPCCompacted, rpctypes.ErrGRPCFutureRev, rpctypes.ErrGRPCLeaseNotFound, rpctypes.ErrGRPCLeaseExist):
		return served
	case code == "Unimplemented":
		return unimplemented
	case text == "election: no leader", text == "election: not leader":
		return served
	default:
		return verdict(code + ": " + text)
	}
}

// codeInside is the code of an error within an answer, 0 if there is none: a
// flotilla.v1.Error anywhere in it, or why a watch of etcd was refused.
func codeInside(m protoreflect.Message) (code connect.Code) {
	if m.Descriptor().FullName() == "flotilla.v1.Error" {
		return connect.Code(m.Get(m.Descriptor().Fields().ByName("code")).Uint())
	}
	if m.Descriptor().FullName() == "etcdserverpb.WatchResponse" &&
		m.Get(m.Descriptor().Fields().ByName("cancel_reason")).String() == rpctypes.ErrGRPCPermissionDenied.Error() {
		return connect.CodePermissionDenied
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap() || field.Message() == nil:
		case field.IsList():
			for i := range value.List().Len() {
				code = max(code, codeInside(value.List().Get(i).Message()))
			}
		default:
			code = codeInside(value.Message())
		}
		return code == 0
	})
	return code
}

// methodsOf are the procedures of all services of a package of messages.
func methodsOf(packages ...protoreflect.FullName) []protoreflect.MethodDescriptor {
	var all []protoreflect.MethodDescriptor
	for _, name := range packages {
		protoregistry.GlobalFiles.RangeFilesByPackage(name, func(file protoreflect.FileDescriptor) bool {
			for i := range file.Services().Len() {
				service := file.Services().Get(i)
				for j := range service.Methods().Len() {
					all = append(all, service.Methods().Get(j))
				}
			}
			return true
		})
	}
	return all
}

// known fails unless a table has every procedure, and no other.
func known[R any](t *testing.T, table map[string]R, methods []protoreflect.MethodDescriptor) {
	t.Helper()
	names := make(map[string]bool)
	for _, method := range methods {
		name := string(method.Parent().Name()) + "." + string(method.Name())
		names[name] = true
		require.Contains(t, table, name, "who may call it is not written down: add it to the table")
	}
	for name := range table {
		require.True(t, names[name], "%s does not exist any more", name)
	}
}
