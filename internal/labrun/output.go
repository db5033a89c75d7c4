package labrun

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
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
