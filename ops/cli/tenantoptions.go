package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/v1/flotillav1connect"
)

// tenantOptions are the flags of commands that administrate a tenant: its own
// administrators by an API key, or, with --tenant, operators.
type tenantOptions struct {
	client clientOptions
	admin  adminOptions
	output outputFlag
	tenant string
}

func (o *tenantOptions) bind(f *pflag.FlagSet) {
	o.client.bindAccess(f)
	f.StringVar(&o.tenant, "tenant", "", "act as an operator, on this tenant")
	f.StringVar(&o.admin.opsURL, "ops-url", opsURLDefault, "base URL of the operators' port of a node, with --tenant")
	o.admin.bindToken(f)
	o.output.bind(f)
}

// asTenant and asOperator are who acts.
type (
	asTenant struct {
		tenant flotillav1connect.TenantServiceClient
	}
	asOperator struct {
		admin adminv1connect.AdminServiceClient
	}
)

// adminTimeout bounds one command.
const adminTimeout = time.Minute

// run does what a command does, as whom the flags say.
func (o *tenantOptions) run(cmd *cobra.Command, env *Env, own func(context.Context, asTenant) error, operate func(context.Context, asOperator) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), adminTimeout)
	defer cancel()
	if o.tenant != "" {
		o.admin.caFile = o.client.caFile
		client, err := o.admin.connect(cmd, env)
		if err != nil {
			return err
		}
		return operate(ctx, asOperator{client})
	}
	cfg, err := o.client.config()
	if err != nil {
		return err
	}
	transport := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg.TLS, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}}
	url := cfg.URL
	if len(cfg.URLs) > 0 {
		url = cfg.URLs[0]
	}
	return own(ctx, asTenant{flotillav1connect.NewTenantServiceClient(
		transport, strings.TrimRight(url, "/"), connect.WithInterceptors(bearerCredential(cfg.APIKey)),
	)})
}

// answeredError is the error of one part of a call.
func answeredError(e *flotillav1.Error) error {
	return connect.NewError(connect.Code(e.GetCode()), errors.New(e.GetMessage()))
}

// printSecret prints a credential, which is shown only here; with -o json all of the
// answer.
func printSecret(env *Env, output outputFlag, answer proto.Message, secret string) error {
	if output.json() {
		return printProto(env.Out, answer)
	}
	fmt.Fprintln(env.Err, "This is the only time that it is shown:")
	_, err := fmt.Fprintln(env.Out, secret)
	return err
}
