package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	"github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1/adminv1connect"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
)

func newTenantUsageCommand(env *Env) *cobra.Command {
	opts := &adminOptions{}
	var hours int
	cmd := &cobra.Command{
		Use:   "usage NAME",
		Short: "Show what a tenant has used, hour by hour",
		Long: `Shows requests, read and write units, bytes, watch hours and stored byte hours.
The bars are of request units, read and write units together. With -o json, the
numbers are as an invoice needs them.`,
		Example: "  $ flotilla tenant usage acme --hours 48",
		Args:    args(cobra.ExactArgs(1)),
	}
	cmd.Flags().IntVar(&hours, "hours", 24, "how many hours, this one included, up to 744")
	return adminCommand(env, opts, cmd, func(ctx context.Context, client adminv1connect.AdminServiceClient, args []string) error {
		if hours < 1 || hours > 744 {
			return usageError{fmt.Errorf("--hours is %d, and takes 1 to 744", hours)}
		}
		now := time.Now()
		response, err := client.GetUsage(ctx, &adminv1.GetUsageRequest{Tenant: args[0], Usage: &flotillav1.GetUsageRequest{
			StartTime: timestamppb.New(now.Add(-time.Duration(hours-1) * time.Hour)), EndTime: timestamppb.New(now),
		}})
		if err != nil {
			return err
		}
		if opts.output.json() {
			return printProto(env.Out, response.GetUsage())
		}
		return printUsage(env, response.GetUsage())
	})
}

// barCells is the width of the longest bar.
const barCells = 24

func printUsage(env *Env, usage *flotillav1.GetUsageResponse) error {
	most := uint64(1)
	for _, hour := range usage.GetHours() {
		most = max(most, requestUnits(hour.GetUsage()))
	}
	var rows [][]string
	for _, hour := range usage.GetHours() {
		rows = append(rows, append(usageCells(timeText(hour.GetStartTime()), hour.GetUsage()),
			bar(requestUnits(hour.GetUsage()), most)))
	}
	rows = append(rows, append(usageCells("total", usage.GetTotal()), ""))
	return printTable(env.Out, []string{"HOUR", "REQUESTS", "READ UNITS", "WRITE UNITS", "IN", "OUT", "WATCH HOURS", "STORED", "UNITS"}, rows)
}

func requestUnits(u *flotillav1.Usage) uint64 { return u.GetReadUnits() + u.GetWriteUnits() }

func usageCells(what string, u *flotillav1.Usage) []string {
	return []string{
		what, strconv.FormatUint(u.GetRequests(), 10), strconv.FormatUint(u.GetReadUnits(), 10), strconv.FormatUint(u.GetWriteUnits(), 10),
		bytesText(float64(u.GetBytesIn())), bytesText(float64(u.GetBytesOut())),
		fmt.Sprintf("%.2f", float64(u.GetWatchSeconds())/3600), byteHoursText(u.GetStoredByteSeconds()),
	}
}

// byteHoursText is how much was stored for how long; what is not 0 does not read as 0.
func byteHoursText(byteSeconds uint64) string {
	const hour = 3600
	if byteSeconds > 0 && byteSeconds < hour {
		return "<1 Bh"
	}
	return bytesText(float64(byteSeconds)/hour) + "h"
}

// bar is as long as a value is of the greatest one, in eighths of a cell; one that is
// not 0 shows.
func bar(value, most uint64) string {
	if value == 0 {
		return ""
	}
	eighths := max(1, int(float64(value)/float64(most)*barCells*8+0.5))
	text := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		text += string(rune('█' + 8 - rest))
	}
	return text
}

// bytesText is a number of bytes with a unit.
func bytesText(bytes float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for bytes >= 1024 && i < len(units)-1 {
		bytes /= 1024
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%.0f B", bytes)
	}
	return fmt.Sprintf("%.1f %s", bytes, units[i])
}
