package gateway

import (
	"log/slog"
	"net/http"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

// unaryProcedures are the paths of the API's procedures that take one message.
func unaryProcedures() map[string]bool {
	unary := make(map[string]bool)
	api := flotillav1.File_flotilla_v1_kv_proto.Package()
	protoregistry.GlobalFiles.RangeFilesByPackage(api, func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				if !method.IsStreamingClient() {
					unary["/"+string(service.FullName())+"/"+string(method.Name())] = true
				}
			}
		}
		return true
	})
	return unary
}

// limitBodyTime ends requests whose single message does not arrive in time: a
// deadline of the call does not end the reading of a body that trickles in.
// Streams may be silent for as long as they like.
func limitBodyTime(next http.Handler, timeout time.Duration, log *slog.Logger) http.Handler {
	unary := unaryProcedures()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if unary[r.URL.Path] {
			if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout)); err != nil {
				log.Debug("no read deadline", "path", r.URL.Path, "err", err)
			}
		}
		next.ServeHTTP(w, r)
	})
}
