package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const barWidth = 30

// progress tells a person how far a long task is: by a bar on a terminal, else
// by a line for every tenth. Safe for concurrent use.
type progress struct {
	out      io.Writer
	terminal bool

	mu          sync.Mutex
	task, unit  string
	done, total int
	steps       int // printed so far, of as many as the output has
	began       time.Time
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if file, ok := out.(*os.File); ok {
		info, err := file.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// say prints a line between tasks.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// begin begins a task of so many units.
func (p *progress) begin(task string, total int, unit string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.task, p.unit, p.total, p.done, p.steps, p.began = task, unit, total, 0, 0, time.Now()
}

// add tells that so many more units are done.
func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	steps := 10
	if p.terminal {
		steps = 100
	}
	reached := p.done * steps / p.total
	if reached == p.steps {
		return
	}
	p.steps = reached
	line := fmt.Sprintf("%s %3d %%  %s %s/s", p.task, p.done*100/p.total,
		thousands(perSecond(p.done, time.Since(p.began))), p.unit)
	if p.terminal {
		full := barWidth * p.done / p.total
		fmt.Fprintf(p.out, "\r[%s%s] %s   ", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), line)
		return
	}
	fmt.Fprintln(p.out, line)
}

// end ends the task.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprintln(p.out)
	}
}
