package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
)

func newAuditCommand(env *Env) *cobra.Command {
	return group("audit", "Read the log of administrative acts", newAuditListCommand(env))
}

func newAuditListCommand(env *Env) *cobra.Command {
	opts := &adminOptions{}
	var tenant, actor string
	var since time.Duration
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List administrative acts, the newest first",
		Long: `Lists who has done what, when, to whom and from where: every act of an operator
and of a tenant's administrators that has changed something. Entries are only ever
added, together with what they tell of.`,
		Example: "  $ flotilla audit list --tenant acme --since 24h\n  $ flotilla audit list --actor operator:eve",
	}
	f := cmd.Flags()
	f.StringVar(&tenant, "tenant", "", "only acts about this tenant")
	f.StringVar(&actor, "actor", "", "only acts of this actor, as the list names it, such as operator:eve")
	f.DurationVar(&since, "since", 0, "only acts of the last so much time; 0 is all")
	f.IntVar(&limit, "limit", 100, "at most this many")
	return adminCommand(env, opts, cmd, func(ctx context.Context, client adminv1connect.AdminServiceClient, _ []string) error {
		if limit < 1 {
			return usageError{fmt.Errorf("--limit is %d, and takes 1 or more", limit)}
		}
		req := &adminv1.ListAuditRequest{Tenant: tenant, Actor: actor}
		if since > 0 {
			req.StartTime = timestamppb.New(time.Now().Add(-since))
		}
		var list []*adminv1.AuditEntry
		for {
			req.PageSize = uint32(min(limit-len(list), 1000))
			page, err := client.ListAudit(ctx, req)
			if err != nil {
				return err
			}
			list = append(list, page.GetEntries()...)
			if req.PageToken = page.GetNextPageToken(); req.PageToken == "" || len(list) >= limit {
				break
			}
		}
		if opts.output.json() {
			return printProtos(env.Out, list)
		}
		rows := make([][]string, len(list))
		for i, e := range list {
			rows[i] = []string{timeText(e.GetTime()), e.GetActor(), e.GetAddress(), e.GetAct(), e.GetTenant(), e.GetSubject(), printable([]byte(e.GetDetail()))}
		}
		return printTable(env.Out, []string{"TIME", "ACTOR", "FROM", "ACT", "TENANT", "SUBJECT", "DETAIL"}, rows)
	})
}
