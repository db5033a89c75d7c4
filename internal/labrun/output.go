package labrun

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"
)

// clipBytes bounds each half of a child's output that is kept.
const clipBytes = 128 << 10

// clipped keeps the beginning and the end of a text.
type clipped struct {
	mu         sync.Mutex
	head, tail []byte
	left       int // bytes between the two
}

func (c *clipped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(p), clipBytes-len(c.head))
	c.head = append(c.head, p[:n]...)
	c.tail = append(c.tail, p[n:]...)
	if len(c.tail) > 2*clipBytes {
		c.left += len(c.tail) - clipBytes
		c.tail = append([]byte(nil), c.tail[len(c.tail)-clipBytes:]...)
	}
	return len(p), nil
}

func (c *clipped) clone() *clipped {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &clipped{head: bytes.Clone(c.head), tail: bytes.Clone(c.tail), left: c.left}
}

// Bytes returns the text, and in its middle the number of bytes left out.
func (c *clipped) Bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	tail, left := c.tail, c.left
	if len(tail) > clipBytes {
		left += len(tail) - clipBytes
		tail = tail[len(tail)-clipBytes:]
	}
	if left == 0 {
		return append(bytes.Clone(c.head), tail...)
	}
	return append(fmt.Appendf(bytes.Clone(c.head), "\n... %d bytes of output left out ...\n", left), tail...)
}

// An output is the file for the output of a child. The child measures the file, so a
// recording knows what was written before an event.
type output struct {
	file *os.File
	stop chan struct{}
	idle chan struct{} // closed when the watch has ended

	mu     sync.Mutex
	before clipped // what was taken out of the file
	taken  bool
}

const (
	// maxOutput bounds the file. A child that writes more begins the file again.
	maxOutput = 64 << 20
	// watchOutput is how often the size of the file is looked at.
	watchOutput = 100 * time.Millisecond
)

func newOutput(path string) (*output, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	o := &output{file: f, stop: make(chan struct{}), idle: make(chan struct{})}
	go o.watch()
	return o, nil
}

// watch bounds the size of the file until the output is closed.
func (o *output) watch() {
	defer close(o.idle)
	tick := time.NewTicker(watchOutput)
	defer tick.Stop()
	for {
		select {
		case <-o.stop:
			return
		case <-tick.C:
		}
		if info, err := o.file.Stat(); err == nil && info.Size() > maxOutput {
			o.mu.Lock()
			o.taken = true
			_, _ = io.Copy(&o.before, io.NewSectionReader(o.file, 0, info.Size()))
			_ = o.file.Truncate(0)
			o.mu.Unlock()
		}
	}
}

// bytes returns the beginning and the end of the output.
func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.before.clone()
	_, _ = io.Copy(all, o.reader())
	return all.Bytes()
}

func (o *output) reader() io.Reader { return io.NewSectionReader(o.file, 0, math.MaxInt64) }

// whole returns the output, or nothing if the output was too long for the file.
func (o *output) whole() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.taken {
		return nil
	}
	data, _ := io.ReadAll(o.reader())
	return data
}

func (o *output) close() {
	close(o.stop)
	<-o.idle
	o.file.Close()
}

// logOf takes the lines of the testing package out of a child's output.
func logOf(output []byte) []byte {
	var log bytes.Buffer
	for line := range strings.Lines(string(output)) {
		if trimmed := strings.TrimLeft(line, " "); hasAnyPrefix(trimmed, "=== ", "--- PASS: ", "--- FAIL: ", "--- SKIP: ") ||
			line == "PASS\n" || line == "FAIL\n" {
			continue
		}
		log.WriteString(strings.TrimPrefix(line, "    "))
	}
	if n := log.Len(); n > 0 && log.Bytes()[n-1] != '\n' {
		log.WriteByte('\n')
	}
	return log.Bytes()
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
