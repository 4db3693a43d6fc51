package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
)

// adminOptions are the flags of commands that act as an operator.
type adminOptions struct {
	operatorOptions
	tokenFile string
}

const operatorTokenVariable = "FLOTILLA_OPERATOR_TOKEN"

func (o *adminOptions) bind(f *pflag.FlagSet) {
	o.operatorOptions.bind(f)
	o.bindToken(f)
}

func (o *adminOptions) bindToken(f *pflag.FlagSet) {
	f.StringVar(&o.tokenFile, "operator-token-file", "", "file with the operator's credential (default: what "+operatorTokenVariable+" holds, or that of the dev node that started last)")
}

// errNoOperator says how a command is made an operator's.
var errNoOperator = errors.New("no operator's credential: set " + operatorTokenVariable + ", or give --operator-token-file; the first one is in operator.token in the data directory of the cluster's first node")

// connect makes a client of the operators' port. What is not given comes from the
// dev node that started last.
func (o *adminOptions) connect(cmd *cobra.Command, env *Env) (adminv1connect.AdminServiceClient, error) {
	token, file := "", o.tokenFile
	if file == "" {
		token, _ = env.LookupEnv(operatorTokenVariable)
	}
	url := o.opsURL
	if token == "" && file == "" {
		info, err := currentDev()
		if err != nil || info.OperatorFile == "" {
			return nil, usageError{errNoOperator}
		}
		if cmd.Flags().Changed("ops-url") && url != info.OpsURL {
			return nil, usageError{errNoOperator} // a dev node's credential is sent to that node alone
		}
		url, file = info.OpsURL, info.OperatorFile
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, usageError{fmt.Errorf("read the operator's credential: %w", err)}
		}
		token = strings.TrimSpace(string(text))
	}
	tls, err := tlsOf(o.caFile)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tls, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}}
	return adminv1connect.NewAdminServiceClient(client, strings.TrimRight(url, "/"), connect.WithInterceptors(bearerCredential(token))), nil
}

// bearerCredential sends a credential with each call.
type bearerCredential string

// WrapUnary implements connect.Interceptor.
func (c bearerCredential) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", "Bearer "+string(c))
		return next(ctx, req)
	}
}

// WrapStreamingClient implements connect.Interceptor; operators have no streams.
func (bearerCredential) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor, for servers alone.
func (bearerCredential) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// adminCommand makes a command that does one thing as an operator.
func adminCommand(env *Env, opts *adminOptions, cmd *cobra.Command, do func(ctx context.Context, client adminv1connect.AdminServiceClient, args []string) error) *cobra.Command {
	if cmd.Args == nil {
		cmd.Args = args(cobra.NoArgs)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := opts.connect(cmd, env)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
		defer cancel()
		return do(ctx, client, args)
	}
	opts.bind(cmd.Flags())
	return cmd
}
