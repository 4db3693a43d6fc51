package main

import (
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"time"
)

// both is a thing of each side.
type both[T any] struct {
	Flotilla T `json:"flotilla"`
	Etcd     T `json:"etcd"`
}

// list is both, Flotilla's first.
func (b *both[T]) list() [2]T { return [2]T{b.Flotilla, b.Etcd} }

// at is the place of a side, by its index in list.
func (b *both[T]) at(i int) *T {
	if i == 0 {
		return &b.Flotilla
	}
	return &b.Etcd
}

// report is what a run found: what -json writes. Fields may be added.
type report struct {
	Time       time.Time         `json:"time"`
	Command    string            `json:"command"`
	CPUs       int               `json:"cpus"`
	GoVersion  string            `json:"go_version"`
	Comparison []comparison      `json:"comparison,omitempty"`
	Watch      *watchRow         `json:"watch,omitempty"`
	Memory     []memoryRow       `json:"memory,omitempty"`
	Restart    *both[restarted]  `json:"restart,omitempty"`
	Namespaces *namespacesResult `json:"namespaces,omitempty"`
	Leases     *leasesResult     `json:"leases,omitempty"`
	Tenants    *tenantsResult    `json:"tenants,omitempty"`
	Neighbours *neighboursResult `json:"neighbours,omitempty"`
}

func newReport() report {
	return report{
		Time: time.Now().UTC().Truncate(time.Second), Command: "go run . " + strings.Join(os.Args[1:], " "),
		CPUs: runtime.NumCPU(), GoVersion: runtime.Version(),
	}
}

// comparison is one workload with one number of callers.
type comparison struct {
	Workload string `json:"workload"`
	Callers  int    `json:"callers"`
	both[result]
}

// footprint is what a server takes.
type footprint struct {
	memory
	// Disk is the size of its files.
	Disk int64 `json:"disk_bytes"`
}

// memoryRow is what both servers take at a moment of the run.
type memoryRow struct {
	Moment string `json:"moment"`
	both[footprint]
}

// restarted is a server after kill -9 and a new start.
type restarted struct {
	// Seconds is from the start of the process to its first answer.
	Seconds float64 `json:"seconds"`
	Memory  memory  `json:"memory"`
}

// namespacesResult is a node of many namespaces.
type namespacesResult struct {
	Namespaces     int       `json:"namespaces"`
	KeysEach       int       `json:"keys_each"`
	Empty          nodeState `json:"empty"`
	Filled         nodeState `json:"filled"`
	Restarted      nodeState `json:"restarted"`
	RestartSeconds float64   `json:"restart_seconds"`
}

// nodeState is what a node holds at a moment.
type nodeState struct {
	Memory     memory `json:"memory"`
	Goroutines int    `json:"goroutines"`
}

// writeJSON writes the report to a file, if one is named.
func (r *report) writeJSON(path string) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
