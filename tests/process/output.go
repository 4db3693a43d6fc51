package process

import (
	"bytes"
	"sync"
)

// outputBytesMax bounds what is kept of a program's output.
const outputBytesMax = 1 << 20

// readyLine is what a node prints when it serves.
const readyLine = "flotilla is ready"

// output gathers what a program prints, and notices the ready line.
type output struct {
	// earlier is what the program printed when it ran before, for those who look
	// for the cause of a failure: the last outputBytesMax bytes.
	earlier string

	mu    sync.Mutex
	text  []byte // its last outputBytesMax bytes
	ready chan struct{}
	seen  bool
}

// newOutput follows one of an earlier run, which is nil if there is none.
func newOutput(before *output) *output {
	o := &output{ready: make(chan struct{})}
	if before != nil {
		all := before.all()
		o.earlier = all[max(0, len(all)-outputBytesMax):] + "\n-- started again --\n"
	}
	return o
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	if !o.seen && bytes.Contains(o.text, []byte(readyLine+"\n")) {
		o.seen = true
		close(o.ready)
	}
	if extra := len(o.text) - outputBytesMax; extra > 0 {
		o.text = append(o.text[:0], o.text[extra:]...)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// all is what the program printed, over all its runs.
func (o *output) all() string { return o.earlier + o.String() }
