package process

import (
	"bytes"
	"sync"
)

// outputBytesMax bounds what is kept of a program's output.
const outputBytesMax = 256 << 10

// readyLine is what a node prints when it serves.
const readyLine = "flotilla is ready"

// output gathers what a program prints, and notices the ready line.
type output struct {
	mu    sync.Mutex
	text  []byte // its last outputBytesMax bytes
	ready chan struct{}
	seen  bool
}

func newOutput() *output { return &output{ready: make(chan struct{})} }

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
