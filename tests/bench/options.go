package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The values of -api.
const (
	apiFlotilla = "flotilla"
	apiEtcd     = "etcd"
)

// options are what the command line asks for.
type options struct {
	workloads  []workload
	callers    []int
	keys       int
	valueBytes int

	slice, warmUp, pause time.Duration
	rounds               int
	timeout              time.Duration

	flotillaClients, etcdClients int
	flotillaPath, etcdPath       string
	goMaxProcs                   int
	memoryLimit                  byteSize
	cgroup                       string

	nodes      int
	restart    bool
	namespaces int
	leases     int
	leaseTime  time.Duration
	tenants    int
	neighbours time.Duration

	api                               string
	watches, watchEvents, idleWatches int

	dir, jsonFile, profileDir string
}

func parseOptions(args []string, usage io.Writer) (options, error) {
	var o options
	var names, callers string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(usage)
	f.StringVar(&names, "workloads", workloadNames(), "what to measure, by comma; none for nothing")
	f.StringVar(&callers, "callers", "1,64,256,1024", "concurrent callers, by comma")
	f.IntVar(&o.keys, "keys", 100_000, "keys to preload, over which the load is spread")
	f.IntVar(&o.valueBytes, "value-bytes", 256, "size of the values")
	f.DurationVar(&o.slice, "slice", time.Second, "how long one server is under load before the other one is")
	f.DurationVar(&o.warmUp, "warm-up", 300*time.Millisecond, "load that is not measured, before the first slice")
	f.DurationVar(&o.pause, "pause", 200*time.Millisecond, "wait between slices, so that one does not run into the next")
	f.IntVar(&o.rounds, "rounds", 3, "slices of each server")
	f.DurationVar(&o.timeout, "timeout", 30*time.Minute, "bound of the whole run")
	f.IntVar(&o.nodes, "nodes", 1, "nodes of Flotilla, and members of etcd, which replicate everything: 1 or 3")
	f.IntVar(&o.flotillaClients, "flotilla-clients", 1, "flotilla.Clients, thus connections, that the callers share")
	f.IntVar(&o.etcdClients, "etcd-clients", 1, "clientv3.Clients, thus connections, that the callers share")
	f.StringVar(&o.flotillaPath, "flotilla", "", "binary to measure; built from this tree if empty")
	f.StringVar(&o.etcdPath, "etcd", "", "binary to measure; built from the version in go.mod if empty")
	f.IntVar(&o.goMaxProcs, "gomaxprocs", 0, "GOMAXPROCS of the servers; 0 leaves it to Go")
	f.Var(&o.memoryLimit, "memory-limit", "GOMEMLIMIT of the servers, such as 1.8GB; also the limit of their -cgroup")
	f.StringVar(&o.cgroup, "cgroup", "", "directory of a cgroup (v1 memory or v2) in which to make one per server")
	f.BoolVar(&o.restart, "restart", false, "kill -9 the preloaded servers at the end and time how soon they serve again")
	f.IntVar(&o.namespaces, "namespaces", 0, "also measure a node with so many namespaces of 10 keys")
	f.IntVar(&o.tenants, "tenants", 0, "also measure a node with so many tenants, each with a namespace and a key")
	f.DurationVar(&o.neighbours, "neighbours", 0, "also measure for so long what a quiet tenant notices of two loud ones, and as long alone, in slices of some seconds")
	f.IntVar(&o.leases, "leases", 0, "also measure a node that keeps so many leases of 10 s alive, and when leases end")
	f.DurationVar(&o.leaseTime, "lease-time", 30*time.Second, "for how long the leases of -leases are kept alive while it is measured")
	f.StringVar(&o.api, "api", apiFlotilla, "what the callers of Flotilla use: its own API by the SDK ("+apiFlotilla+"), or its etcd port by clientv3 ("+apiEtcd+")")
	f.IntVar(&o.watches, "watches", 0, "also measure how fast events reach so many watches of one prefix, by clientv3 on both")
	f.IntVar(&o.watchEvents, "watch-events", 200, "writes in a round of -watches")
	f.IntVar(&o.idleWatches, "idle-watches", 0, "also note the memory of so many watches of keys that nobody writes")
	f.StringVar(&o.dir, "dir", "", "directory for the servers' data; default the system's for temporary files")
	f.StringVar(&o.jsonFile, "json", "", "file to write the results to, as JSON")
	f.StringVar(&o.profileDir, "profile", "", "directory for CPU profiles, each of 5 s of load that is not measured")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	var wrongNames, wrongCallers error
	o.workloads, wrongNames = parseWorkloads(names)
	o.callers, wrongCallers = parseCounts(callers)
	return o, errors.Join(wrongNames, wrongCallers, o.validate())
}

func (o *options) validate() error {
	var errs []error
	positive := func(name string, n int) {
		if n <= 0 {
			errs = append(errs, fmt.Errorf("-%s must be positive", name))
		}
	}
	positive("value-bytes", o.valueBytes)
	positive("rounds", o.rounds)
	positive("slice", int(o.slice))
	positive("timeout", int(o.timeout))
	positive("flotilla-clients", o.flotillaClients)
	positive("etcd-clients", o.etcdClients)
	positive("watch-events", o.watchEvents)
	positive("lease-time", int(o.leaseTime))
	if o.nodes != 1 && o.nodes != 3 {
		errs = append(errs, errors.New("-nodes must be 1 or 3"))
	}
	if o.nodes > 1 && (o.restart || o.namespaces > 0 || o.tenants > 0 || o.neighbours > 0 || o.leases > 0 || o.watches > 0 || o.idleWatches > 0) {
		errs = append(errs, errors.New("-nodes goes with -workloads alone"))
	}
	if o.api != apiFlotilla && o.api != apiEtcd {
		errs = append(errs, fmt.Errorf("-api must be %s or %s", apiFlotilla, apiEtcd))
	}
	if len(o.callers) > 0 && o.keys < max(rangeKeys, slices.Max(o.callers)) {
		errs = append(errs, fmt.Errorf("-keys must be at least %d, and a key per caller", rangeKeys))
	}
	if o.valueBytes > valuePoolBytes {
		errs = append(errs, fmt.Errorf("-value-bytes must be at most %d", valuePoolBytes))
	}
	if o.watches < 0 || o.idleWatches < 0 {
		errs = append(errs, errors.New("-watches and -idle-watches cannot be negative"))
	}
	if o.namespaces < 0 || o.tenants < 0 || o.neighbours < 0 || o.leases < 0 || o.warmUp < 0 || o.pause < 0 || o.goMaxProcs < 0 {
		errs = append(errs, errors.New("-namespaces, -tenants, -neighbours, -leases, -warm-up, -pause and -gomaxprocs cannot be negative"))
	}
	if o.cgroup != "" && o.memoryLimit == 0 {
		errs = append(errs, errors.New("-cgroup needs -memory-limit"))
	}
	return errors.Join(errs...)
}

// compares is whether etcd is measured too.
func (o *options) compares() bool {
	return len(o.workloads) > 0 || o.restart || o.watches > 0 || o.idleWatches > 0
}

func parseWorkloads(list string) ([]workload, error) {
	if list == "" || list == "none" {
		return nil, nil
	}
	var chosen []workload
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(workloads(), func(w workload) bool { return w.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("-workloads: there is no %q, only %s", name, workloadNames())
		}
		chosen = append(chosen, workloads()[i])
	}
	return chosen, nil
}

func parseCounts(list string) ([]int, error) {
	var counts []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("-callers: %q is not a positive number", text)
		}
		counts = append(counts, n)
	}
	return counts, nil
}

// byteSize is a number of bytes, written like 1.8GB or 512MiB.
type byteSize int64

// byteUnits are the suffixes of a byteSize, each before the ones it ends in.
func byteUnits() []byteUnit {
	return []byteUnit{
		{"GiB", 1 << 30},
		{"MiB", 1 << 20},
		{"KiB", 1 << 10},
		{"GB", 1e9},
		{"MB", 1e6},
		{"KB", 1e3},
		{"B", 1},
		{"", 1},
	}
}

type byteUnit struct {
	suffix string
	bytes  float64
}

// String is the size in the largest unit of a thousand that it fills.
func (s *byteSize) String() string { return megabytes(int64(*s)) }

// Set implements flag.Value.
func (s *byteSize) Set(text string) error {
	for _, unit := range byteUnits() {
		digits, ok := strings.CutSuffix(text, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || n < 0 || n*unit.bytes > 1<<60 {
			return fmt.Errorf("%q is not a size such as 1.8GB or 512MiB", text)
		}
		*s = byteSize(n * unit.bytes)
		return nil
	}
	return nil
}
