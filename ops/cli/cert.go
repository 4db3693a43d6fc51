package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/flotillakv/flotilla/gateway/intercept"
	"github.com/flotillakv/flotilla/ops/cert"
	"github.com/flotillakv/flotilla/tenancy"
)

func newCertCommand(env *Env) *cobra.Command {
	return group("cert", "Make certificates for TLS",
		newCertCACommand(env), newCertNodeCommand(env), newCertClientCommand(env))
}

const (
	year             = 365 * 24 * time.Hour
	caValidDefault   = 10 * year
	certValidDefault = year
	hostFlag         = "host"
)

type certOptions struct {
	dir   string
	hosts []string
	valid time.Duration
}

func (o *certOptions) bind(cmd *cobra.Command, valid time.Duration) {
	cmd.Flags().StringVar(&o.dir, "dir", "certs", "directory of the authority and of what it vouches for")
	cmd.Flags().DurationVar(&o.valid, "valid", valid, "how long it is good for")
}

func newCertCACommand(env *Env) *cobra.Command {
	opts := &certOptions{}
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Make an authority of your own",
		Long: `Makes the authority that vouches for the certificates of nodes and clients.
Keep its key away from both: who has it can pass for either.`,
		Example: "  $ flotilla cert ca",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return printFiles(env)(cert.NewAuthority(opts.dir, opts.valid, time.Now))
		},
	}
	opts.bind(cmd, caValidDefault)
	return cmd
}

func newCertNodeCommand(env *Env) *cobra.Command {
	opts := &certOptions{}
	var renew bool
	cmd := &cobra.Command{
		Use:   "node NAME",
		Short: "Make a node's certificate",
		Long: `Makes the certificate that a node shows to its clients and to other nodes, good
for the hosts that it is reached under.

A certificate that was copied to its node is renewed with --renew, and copied
there again: the node takes it up without a restart.`,
		Example: "  $ flotilla cert node n1 --host n1.example.com,10.0.0.1\n  $ flotilla cert node n1 --renew",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			authority, err := cert.LoadAuthority(opts.dir, time.Now)
			if err != nil {
				return err
			}
			if !renew {
				return printFiles(env)(authority.Node(args[0], opts.hosts, opts.valid))
			}
			if !cmd.Flags().Changed(hostFlag) {
				opts.hosts = nil // those that it has
			}
			return printFiles(env)(authority.RenewNode(args[0], opts.hosts, opts.valid))
		},
	}
	opts.bind(cmd, certValidDefault)
	cmd.Flags().StringSliceVar(&opts.hosts, hostFlag, []string{"localhost", "127.0.0.1", "::1"}, "DNS names and IP addresses, by comma")
	cmd.Flags().BoolVar(&renew, "renew", false, "replace the certificate that there is, for the same key and, without --host, the same hosts")
	return cmd
}

func newCertClientCommand(env *Env) *cobra.Command {
	opts := &certOptions{}
	var tenant, namespace string
	cmd := &cobra.Command{
		Use:   "client KEY-ID",
		Short: "Make a client's certificate",
		Long: `Makes a certificate by which a client of the API or the etcd v3 API acts under an
API key, without showing the key. It ends with the key: revoke it, and the
certificate is good for nothing. With --tenant it is good for that tenant's key
alone; the namespace is the one that is the client's etcd.`,
		Example: "  $ flotilla key list\n  $ flotilla cert client 4tqx3rcixptkeotw\n  $ flotilla cert client 4tqx3rcixptkeotw --tenant acme --namespace staging",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			authority, err := cert.LoadAuthority(opts.dir, time.Now)
			if err != nil {
				return err
			}
			user := ""
			if tenant != "" {
				user = tenant + "/" + namespace + "/" + args[0]
				if _, err := intercept.ParseUser(user); err != nil {
					return usageError{fmt.Errorf("%q is no tenant, namespace and API key id", user)}
				}
			} else if cmd.Flags().Changed("namespace") {
				return usageError{errors.New("--namespace needs --tenant")}
			}
			return printFiles(env)(authority.Client(args[0], user, opts.valid))
		},
	}
	opts.bind(cmd, certValidDefault)
	cmd.Flags().StringVar(&tenant, "tenant", "", "the key's tenant")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", tenancy.DefaultNamespace, "the namespace that is the client's etcd")
	return cmd
}

// printFiles prints the files that were written.
func printFiles(env *Env) func(cert.Files, error) error {
	return func(files cert.Files, err error) error {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w: nothing is overwritten; take another name or --dir, renew a node's with --renew, or move it away", err)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.Out, "%s\n%s\n", files.Cert, files.Key)
		return err
	}
}
