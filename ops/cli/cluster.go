package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flotillakv/flotilla/ops/node"
	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
)

func newNodeCommand(env *Env) *cobra.Command {
	return group("node", "See the nodes of a cluster, and remove those that are gone", newNodeListCommand(env), newNodeRemoveCommand(env))
}

func newShardCommand(env *Env) *cobra.Command {
	return group("shard", "See the shards of a cluster", newShardListCommand(env))
}

// opsURLDefault is the operators' port of a node on this machine.
const opsURLDefault = "http://127.0.0.1:7703"

// operatorOptions are the flags of commands that ask a node's operators' port.
type operatorOptions struct {
	opsURL, caFile string
	output         outputFlag
}

func (o *operatorOptions) bind(f *pflag.FlagSet) {
	f.StringVar(&o.opsURL, "ops-url", opsURLDefault, "base URL of the operators' port of a node")
	f.StringVar(&o.caFile, "ca-file", "", "authority in PEM that the port's certificate is of (default: this machine's)")
	o.output.bind(f)
}

// operatorTimeout is how long the operators' port may take to answer.
const operatorTimeout = 10 * time.Second

// status asks the node how the cluster is.
func (o *operatorOptions) status(ctx context.Context) (*node.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, operatorTimeout)
	defer cancel()
	tls, err := tlsOf(o.caFile)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(o.opsURL, "/")+"/status", http.NoBody)
	if err != nil {
		return nil, usageError{fmt.Errorf("--ops-url: %w", err)}
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: tls, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask a node: %w: --ops-url takes the operators' port of one that runs, with https and --ca-file if it has a certificate", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask a node: %s answers %s: --ops-url takes the operators' port, with https and --ca-file if it has a certificate", o.opsURL, response.Status)
	}
	const statusBytesMax = 64 << 20
	status := &node.Status{}
	if err := json.NewDecoder(io.LimitReader(response.Body, statusBytesMax)).Decode(status); err != nil {
		return nil, fmt.Errorf("ask a node: %s does not answer as a node does: %w", o.opsURL, err)
	}
	return status, nil
}

func newNodeListCommand(env *Env) *cobra.Command {
	opts := &operatorOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the nodes, as one of them knows them",
		Long: `Lists the nodes of the cluster as the one that is asked knows them: its state,
since when one is dead, and how far its clock is from that of the one that is
asked.`,
		Example: "  $ flotilla node list\n  $ flotilla node list --ops-url http://127.0.0.1:7713 -o json",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runNodeList(cmd.Context(), env, opts) },
	}
	opts.bind(cmd.Flags())
	return cmd
}

func runNodeList(ctx context.Context, env *Env, opts *operatorOptions) error {
	status, err := opts.status(ctx)
	if err != nil {
		return err
	}
	if opts.output.json() {
		return printJSON(env.Out, status.Nodes)
	}
	led, hosted := make(map[string]int), make(map[string]int)
	for _, s := range status.Shards {
		led[s.LeaderNode]++
	}
	for _, placed := range status.Placements {
		for _, r := range placed.Replicas {
			hosted[r.NodeID]++
		}
	}
	var rows [][]string
	for _, n := range status.Nodes {
		state, roles, skew := n.State, "host,gateway", "-"
		if n.DeadSince != nil {
			state = "dead since " + n.DeadSince.UTC().Format(time.RFC3339)
		}
		if !n.Hosts {
			roles = "gateway"
		}
		leads := strconv.Itoa(led[n.NodeID])
		if len(status.Shards) == 0 {
			leads = "-" // the node that is asked has no replica that would know
		}
		if n.ClockSkewSeconds != nil {
			skew = fmt.Sprintf("%+.3fs", *n.ClockSkewSeconds)
		}
		rows = append(rows, []string{
			n.Name, state, roles, n.Zone, strconv.Itoa(hosted[n.NodeID]), leads, skew, n.PeerAddress, n.Version, n.NodeID,
		})
	}
	return printTable(env.Out, []string{"NAME", "STATE", "ROLES", "ZONE", "REPLICAS", "LEADS", "CLOCK", "PEER", "VERSION", "ID"}, rows)
}

func newShardListCommand(env *Env) *cobra.Command {
	opts := &operatorOptions{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the shards and where their replicas are, as a node knows it",
		Long: `Lists the shards with their replicas by node: * marks the one that leads, and
what is not a voter tells what it is. Only the node that is asked knows who
leads, of the shards that it has a replica of.`,
		Example: "  $ flotilla shard list",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runShardList(cmd.Context(), env, opts) },
	}
	opts.bind(cmd.Flags())
	return cmd
}

func runShardList(ctx context.Context, env *Env, opts *operatorOptions) error {
	status, err := opts.status(ctx)
	if err != nil {
		return err
	}
	if opts.output.json() {
		return printJSON(env.Out, status.Placements)
	}
	if len(status.Placements) == 0 {
		return errors.New("the node does not know the shards yet: try again")
	}
	var rows [][]string
	for _, placed := range status.Placements {
		row := []string{strconv.FormatUint(uint64(placed.Shard), 10), "-", "-"}
		leader := ""
		for _, s := range status.Shards {
			if s.Shard == placed.Shard {
				leader, row[1], row[2] = s.LeaderNode, strconv.FormatUint(s.Term, 10), strconv.FormatUint(s.Applied, 10)
			}
		}
		var replicas []string
		for _, r := range placed.Replicas {
			name := cmp.Or(r.NodeName, r.NodeID)
			if r.NodeID == leader {
				name += "*"
			}
			switch {
			case r.NodeRemoved:
				name += " (removed)"
			case r.State != "voter":
				name += " (" + strings.ReplaceAll(r.State, "_", " ") + ")"
			}
			replicas = append(replicas, name)
		}
		slices.Sort(replicas)
		rows = append(rows, append(row, strings.Join(replicas, ", ")))
	}
	return printTable(env.Out, []string{"SHARD", "TERM", "APPLIED", "REPLICAS"}, rows)
}

func newNodeRemoveCommand(env *Env) *cobra.Command {
	opts := &adminOptions{}
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Take a node that is gone for good out of the cluster",
		Long: `Takes a node out of the cluster, by its name or id, that does not run and will not
again: its replicas are replaced at once, and it is not let in again. A node that
runs is refused: stop it first.`,
		Example: "  $ flotilla node remove n3",
		Args:    args(cobra.ExactArgs(1)),
	}
	return adminCommand(env, opts, cmd, func(ctx context.Context, client adminv1connect.AdminServiceClient, args []string) error {
		if _, err := client.RemoveNode(ctx, &adminv1.RemoveNodeRequest{Node: args[0]}); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.Out, "%s is removed\n", args[0])
		return err
	})
}
