package gateway

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"

	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
)

// Health is what the operators' port tells of the node.
type Health interface {
	// Ready returns nil when the node serves, and otherwise why it does not.
	Ready() error
	// Status is told as JSON.
	Status() any
}

// OpsHandler serves the operators' port: /healthz (the process lives), /readyz
// (it serves), /status, /metrics and /debug/pprof, and gRPC health checks and
// reflection. These have no authentication: the port belongs on loopback or a
// network of the operators. Admin is AdminService, which has. The proxies are believed
// in where a request came from.
func OpsHandler(health Health, metrics prometheus.Gatherer, admin http.Handler, proxies intercept.Proxies) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := health.Ready(); err != nil {
			writeText(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		writeText(w, http.StatusOK, "ready")
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(health.Status())
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", fromHere(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/cmdline", fromHere(pprof.Cmdline))
	mux.HandleFunc("GET /debug/pprof/profile", fromHere(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/symbol", fromHere(pprof.Symbol))
	mux.HandleFunc("GET /debug/pprof/trace", fromHere(pprof.Trace))
	mux.Handle("/"+adminv1connect.AdminServiceName+"/", admin)
	services := []string{
		adminv1connect.AdminServiceName, flotillav1connect.AuthServiceName,
		flotillav1connect.KVServiceName, flotillav1connect.LeaseServiceName,
		flotillav1connect.TenantServiceName, flotillav1connect.WatchServiceName,
	}
	mux.Handle(grpchealth.NewHandler(grpchealth.NewStaticChecker(services...)))
	reflector := grpcreflect.NewStaticReflector(services...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	return proxies.Handler(mux)
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// fromHere serves callers on this machine alone: the port asks nobody who they are,
// and profiles tell more than an operator's dashboard needs. Whom a proxy speaks for has
// no port, and so is never on this machine, whatever address the proxy tells.
func fromHere(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			http.Error(w, "profiles are served to this machine alone: ask through a tunnel, such as ssh -L", http.StatusForbidden)
			return
		}
		serve(w, r)
	}
}
