package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// clockTick is the unit of CPU times in /proc: USER_HZ, which is 100 on every
// architecture that Linux and Go share.
const clockTick = 10 * time.Millisecond

// memory is what a process holds, in bytes.
type memory struct {
	// RSS is its resident memory, files that it maps included.
	RSS int64 `json:"rss_bytes"`
	// Anon is the part that is its own: nothing but ending it gives it back.
	Anon int64 `json:"anon_bytes"`
	// Peak is the largest RSS since it started.
	Peak int64 `json:"peak_rss_bytes"`
}

// usage is what a process used since it started, and holds.
type usage struct {
	CPU time.Duration
	memory
}

// plus adds what another process used.
func (u usage) plus(other usage) usage {
	u.CPU += other.CPU
	u.RSS += other.RSS
	u.Anon += other.Anon
	u.Peak += other.Peak
	return u
}

// parseStat reads a process's CPU time, user and system, from /proc/<pid>/stat.
func parseStat(stat []byte) (time.Duration, error) {
	// The second field is the program's name in parentheses, which may hold
	// anything, so fields are counted from the last one.
	end := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	const utime, stime = 14 - 3, 15 - 3 // as in proc(5), less the fields before
	if end < 0 || len(fields) <= stime {
		return 0, fmt.Errorf("malformed /proc stat %q", stat)
	}
	user, userErr := strconv.ParseInt(string(fields[utime]), 10, 64)
	system, systemErr := strconv.ParseInt(string(fields[stime]), 10, 64)
	if userErr != nil || systemErr != nil {
		return 0, fmt.Errorf("malformed /proc stat %q", stat)
	}
	return time.Duration(user+system) * clockTick, nil
}

// parseStatus reads a process's memory from /proc/<pid>/status.
func parseStatus(status []byte) (memory, error) {
	var m memory
	want := map[string]*int64{"VmRSS:": &m.RSS, "RssAnon:": &m.Anon, "VmHWM:": &m.Peak}
	for line := range bytes.Lines(status) {
		fields := bytes.Fields(line)
		if len(fields) != 3 || want[string(fields[0])] == nil {
			continue
		}
		kibibytes, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil || string(fields[2]) != "kB" {
			return m, fmt.Errorf("malformed /proc status line %q", line)
		}
		*want[string(fields[0])] = kibibytes << 10
		delete(want, string(fields[0]))
	}
	if len(want) > 0 {
		return m, fmt.Errorf("/proc status lacks %d of VmRSS, RssAnon and VmHWM", len(want))
	}
	return m, nil
}

// ownCPU is the CPU time that this process used.
func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, err
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// diskBytes is the size of the files below a directory.
func diskBytes(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // a running server removes files meanwhile
		}
		if info, err := entry.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total, err
}

// sliceResult is what one slice of load measured.
type sliceResult struct {
	// latencies are those of all operations, in no order.
	latencies []time.Duration
	// elapsed is from the first operation's start to the last one's end.
	elapsed              time.Duration
	serverCPU, clientCPU time.Duration
	memory               memory
}

// result is what all slices of one server measured for a workload and a number
// of callers.
type result struct {
	OpsPerSecond float64       `json:"ops_per_second"`
	P50          time.Duration `json:"p50_ns"`
	P99          time.Duration `json:"p99_ns"`
	Max          time.Duration `json:"max_ns"`
	// ServerCPU and ClientCPU are in cores: 1 is one core kept busy. The
	// client is this process.
	ServerCPU float64 `json:"server_cpu_cores"`
	ClientCPU float64 `json:"client_cpu_cores"`
	// Memory is the server's after the last slice.
	Memory memory `json:"memory"`
	// Rounds are the operations per second of each slice.
	Rounds []float64 `json:"rounds_ops_per_second"`
}

// summarize makes one result of a server's slices, at least one. Long slices
// count for more.
func summarize(slicesOfLoad []sliceResult) result {
	var r result
	var all []time.Duration
	var elapsed, serverCPU, clientCPU time.Duration
	for _, s := range slicesOfLoad {
		all = append(all, s.latencies...)
		elapsed += s.elapsed
		serverCPU += s.serverCPU
		clientCPU += s.clientCPU
		r.Memory = s.memory
		r.Rounds = append(r.Rounds, perSecond(len(s.latencies), s.elapsed))
	}
	slices.Sort(all)
	r.OpsPerSecond = perSecond(len(all), elapsed)
	r.P50, r.P99, r.Max = percentile(all, 50), percentile(all, 99), percentile(all, 100)
	r.ServerCPU = serverCPU.Seconds() / elapsed.Seconds()
	r.ClientCPU = clientCPU.Seconds() / elapsed.Seconds()
	return r
}

func perSecond(n int, elapsed time.Duration) float64 { return float64(n) / elapsed.Seconds() }

// percentile is the smallest of the sorted values that p percent of them do not
// exceed; 0 of none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}
