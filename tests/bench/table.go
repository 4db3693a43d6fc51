package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// printComparison prints what comparing found: speed, memory, restarts.
func (r *report) printComparison(out io.Writer, o options) {
	fmt.Fprintf(out, "\n%s\n%d CPUs, %s; %s keys of %d B; %d slices of %s each, alternating\n",
		r.Command, r.CPUs, r.GoVersion, thousands(float64(o.keys)), o.valueBytes, o.rounds, o.slice)
	if len(r.Comparison) > 0 {
		fmt.Fprintln(out, "CPU is in % of one core: the server's + its client's in this process.")
		fmt.Fprintln(out)
		speedTable(r.Comparison).print(out)
	}
	if r.Watch != nil {
		fmt.Fprintln(out)
		watchTable(*r.Watch).print(out)
	}
	fmt.Fprintln(out)
	memoryTable(r.Memory).print(out)
	if r.Restart != nil {
		fmt.Fprintln(out)
		restartTable(*r.Restart).print(out)
	}
}

func speedTable(rows []comparison) table {
	var t table
	t.row("workload", "callers", "flotilla op/s", "p50", "p99", "CPU", "RSS",
		"etcd op/s", "p50", "p99", "CPU", "RSS", "flotilla/etcd", "p50", "p99")
	for _, row := range rows {
		cells := []string{row.Workload, fmt.Sprint(row.Callers)}
		for _, s := range row.list() {
			cells = append(cells, thousands(s.OpsPerSecond), latency(s.P50), latency(s.P99),
				fmt.Sprintf("%.0f+%.0f", 100*s.ServerCPU, 100*s.ClientCPU), megabytes(s.Memory.RSS))
		}
		cells = append(cells, ratio(row.Flotilla.OpsPerSecond, row.Etcd.OpsPerSecond),
			ratio(float64(row.Flotilla.P50), float64(row.Etcd.P50)),
			ratio(float64(row.Flotilla.P99), float64(row.Etcd.P99)))
		t.row(cells...)
	}
	return t
}

func memoryTable(rows []memoryRow) table {
	var t table
	t.row("memory", "flotilla RSS", "anon", "peak", "disk", "etcd RSS", "anon", "peak", "disk", "flotilla/etcd RSS", "anon")
	for _, row := range rows {
		cells := []string{row.Moment}
		for _, s := range row.list() {
			cells = append(cells, megabytes(s.RSS), megabytes(s.Anon), megabytes(s.Peak), megabytes(s.Disk))
		}
		cells = append(cells, ratio(float64(row.Flotilla.RSS), float64(row.Etcd.RSS)),
			ratio(float64(row.Flotilla.Anon), float64(row.Etcd.Anon)))
		t.row(cells...)
	}
	return t
}

func restartTable(r both[restarted]) table {
	var t table
	t.row("after kill -9", "serves after", "RSS", "anon", "peak")
	for i, s := range r.list() {
		t.row([]string{"flotilla", "etcd"}[i], fmt.Sprintf("%.2f s", s.Seconds),
			megabytes(s.Memory.RSS), megabytes(s.Memory.Anon), megabytes(s.Memory.Peak))
	}
	return t
}

// printNamespaces prints what a node of many namespaces takes.
func (r *report) printNamespaces(out io.Writer) {
	n := r.Namespaces
	var t table
	t.row("namespaces", "RSS", "anon", "peak", "goroutines")
	for _, row := range []struct {
		moment string
		state  nodeState
	}{
		{"none", n.Empty},
		{fmt.Sprintf("%s of %d keys", thousands(float64(n.Namespaces)), n.KeysEach), n.Filled},
		{fmt.Sprintf("after kill -9, serves after %.2f s", n.RestartSeconds), n.Restarted},
	} {
		m := row.state.Memory
		t.row(row.moment, megabytes(m.RSS), megabytes(m.Anon), megabytes(m.Peak), fmt.Sprint(row.state.Goroutines))
	}
	fmt.Fprintln(out)
	t.print(out)
}

// printTenants prints what a node of many tenants takes.
func (r *report) printTenants(out io.Writer) {
	n := r.Tenants
	var t table
	t.row("tenants", "RSS", "anon", "peak", "goroutines")
	for _, row := range []struct {
		moment string
		state  nodeState
	}{{"none", n.Empty}, {thousands(float64(n.Tenants)), n.Filled}} {
		m := row.state.Memory
		t.row(row.moment, megabytes(m.RSS), megabytes(m.Anon), megabytes(m.Peak), fmt.Sprint(row.state.Goroutines))
	}
	fmt.Fprintln(out)
	t.print(out)
	fmt.Fprintf(out, "%s tenants created a second; a tenant's first request after a restart p50 %s p99 %s, its second %s %s\n",
		thousands(n.PerSecond), n.First.P50, n.First.P99, n.Second.P50, n.Second.P99)
}

// printNeighbours prints what a quiet tenant notices of the others.
func (r *report) printNeighbours(out io.Writer) {
	n := r.Neighbours
	var t table
	t.row("quiet tenant", "op/s", "p50", "p99", "reads p99", "writes p99", "failed")
	for _, row := range []struct {
		what string
		of   quietResult
	}{{"alone", n.Alone}, {"beside the others", n.Beside}, {"others on a server of their own", n.Apart}} {
		t.row(row.what, fmt.Sprintf("%.0f", row.of.PerSecond), row.of.Latency.P50.String(), row.of.Latency.P99.String(),
			row.of.Reads.P99.String(), row.of.Writes.P99.String(), fmt.Sprint(row.of.Failed))
	}
	fmt.Fprintln(out)
	t.print(out)
	each := func(n int64, seconds float64) string { return thousands(float64(n) / seconds) }
	fmt.Fprintf(out, "p99 beside the others is %.2f of alone, and %.2f while they have a server of their own on this machine; of the flood %s/s were let in, where it may %s/s and a burst of as many at a time, and %s/s refused; %s maximal ranges a second, %d watches\n",
		float64(n.Beside.Latency.P99)/float64(n.Alone.Latency.P99), float64(n.Apart.Latency.P99)/float64(n.Alone.Latency.P99), each(n.Loud.Flooded, n.Loud.Seconds), thousands(floodLimit),
		each(n.Loud.Refused, n.Loud.Seconds), each(n.Loud.Ranges, n.Loud.Seconds), neighbourWatches)
}

// table is rows of cells, the first of which is the heading.
type table struct{ rows [][]string }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// print aligns the first column to the left and the others to the right.
func (t table) print(out io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			width := widths[i]
			if i == 0 {
				width = -width
			} else {
				line.WriteString("  ")
			}
			fmt.Fprintf(&line, "%*s", width, cell)
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
}

// thousands is a whole number with separators.
func thousands(n float64) string {
	digits := fmt.Sprintf("%.0f", n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// latency is a duration of three digits or so.
func latency(d time.Duration) string {
	if d < time.Millisecond {
		return fmt.Sprintf("%d us", d.Microseconds())
	}
	milliseconds := float64(d) / float64(time.Millisecond)
	if milliseconds < 100 {
		return fmt.Sprintf("%.1f ms", milliseconds)
	}
	return fmt.Sprintf("%.0f ms", milliseconds)
}

// megabytes is a size in units of a million bytes.
func megabytes(bytes int64) string { return fmt.Sprintf("%.0f MB", float64(bytes)/1e6) }

// ratio is a to b.
func ratio(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}
