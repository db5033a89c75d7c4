package trace

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Bounds of the lines of a program's output in a recording.
const (
	maxOutputLines = 50_000
	maxOutputLine  = 400 // bytes
)

var (
	// testLine is a line that package testing wrote: file, line and message.
	testLine = regexp.MustCompile(`^\s+([\w./-]+\.go:\d+): (.*)$`)
	// blockLine begins a message of several lines, and blockPart is a line of the block that
	// testify writes: a label, and a part of its text.
	blockLine = regexp.MustCompile(`^\s+([\w./-]+\.go:\d+):$`)
	blockPart = regexp.MustCompile(`^ *\t([\w ]+?:)?\s*\t(.*)$`)
	// crashLine begins the report of a crash.
	crashLine = regexp.MustCompile(`^(panic: |fatal error: )`)
	// runnerLine is a line of the test runner about itself.
	runnerLine = regexp.MustCompile(`^\s*(=== |--- (PASS|FAIL|SKIP): |PASS$|FAIL$|ok\s)`)
	// serverOf finds the number of a server in a line.
	serverOf = regexp.MustCompile(`(?i)(?:^|[^a-z0-9])(?:s|server|peer|node|raft|rf|me|kv|id)[ .:=#\[(]*(\d{1,3})(?:[^\d.]|$)`)
	bracket  = regexp.MustCompile(`^[^\[(]{0,24}[\[(](\d{1,3})[\])]`)
	date     = regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)? `)
)

// AddOutput puts the lines of the program's output in their place among the events. The
// events know the length of the output before them, from [Options.Output]. A line with the number
// of a server is on the lane of the server.
func (r *Recording) AddOutput(output []byte) {
	var lines []Event
	first := r.Output
	if r.Omitted > 0 && len(r.Events) > 0 {
		first = r.Events[0].Output
	}
	offset, crashed := int64(0), false
	var open *block
	for line := range bytes.Lines(output) {
		start := offset
		offset += int64(len(line))
		text := strings.TrimRight(string(line), "\r\n\t ")
		if start < first || text == "" || open.takes(text) {
			continue
		}
		lines = open.end(lines)
		open = newBlock(text, start)
		if open != nil || runnerLine.MatchString(text) {
			continue
		}
		e := r.outputLine(text, start)
		if crashLine.MatchString(text) && !crashed {
			crashed = true
			e.Kind = Noted
		}
		lines = append(lines, e)
	}
	lines = open.end(lines)
	if more := len(lines) - maxOutputLines; more > 0 {
		lines = lines[more:]
	}
	r.merge(lines)
}

// A block is a message of testify, of several lines. The nil block takes no lines.
type block struct {
	where    string // file and line of the test
	start    int64
	label    string
	says     []string
	messages []string
}

// newBlock returns the block that a line begins, or nil.
func newBlock(line string, start int64) *block {
	m := blockLine.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	return &block{where: m[1], start: start}
}

// takes reports whether a line belongs to the block.
func (b *block) takes(line string) bool {
	if b == nil {
		return false
	}
	m := blockPart.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	if m[1] != "" || m[2] == "Diff:" {
		b.label = cmp.Or(m[1], m[2])
	}
	switch text := strings.Join(strings.Fields(m[2]), " "); b.label {
	case "Error:":
		b.says = append(b.says, text)
	case "Messages:":
		b.messages = append(b.messages, text)
	}
	return true
}

// end appends the message of the block, if the block has one.
func (b *block) end(lines []Event) []Event {
	if b == nil || len(b.says) == 0 {
		return lines
	}
	text := b.where + ": " + strings.Join(append(b.messages, b.says...), " ")
	return append(lines, Event{Kind: Noted, Lane: NoLane, Text: clipped(text), Output: b.start})
}

// AddMarkedOutput is AddOutput for the output of a streamed run, in which a mark follows the
// output before each event. It returns the output without marks.
func (r *Recording) AddMarkedOutput(output []byte, mark byte) []byte {
	plain := make([]byte, 0, len(output))
	for i, rest := -r.streamed, output; ; i++ {
		before, after, found := bytes.Cut(rest, []byte{mark})
		plain = append(plain, before...)
		if !found {
			break
		}
		if i >= 0 && i < len(r.Events) {
			r.Events[i].Output = int64(len(plain))
		}
		if rest = after; i == -1 {
			r.Output = int64(len(plain))
		}
	}
	r.AddOutput(plain)
	return plain
}

// outputLine makes an event of a line of output.
func (r *Recording) outputLine(text string, start int64) Event {
	e := Event{Kind: Logged, Lane: NoLane, Text: date.ReplaceAllString(text, ""), Output: start}
	if m := testLine.FindStringSubmatch(text); m != nil {
		e.Kind, e.Text = Noted, m[1]+": "+m[2]
	} else {
		e.Lane = r.laneIn(e.Text)
	}
	e.Text = clipped(e.Text)
	return e
}

func clipped(text string) string {
	if len(text) > maxOutputLine {
		return strings.ToValidUTF8(text[:maxOutputLine], "") + "…"
	}
	return text
}

// laneIn returns the server named in a line, or NoLane.
func (r *Recording) laneIn(line string) int {
	for i, l := range r.Lanes {
		if len(l.Name) > 3 && strings.Contains(line, l.Name) {
			return i
		}
	}
	for _, pattern := range []*regexp.Regexp{bracket, serverOf} {
		if m := pattern.FindStringSubmatch(line); m != nil {
			return r.numbered(m[1])
		}
	}
	return NoLane
}

// numbered returns the lane of the server with a number, if the servers have numbers.
func (r *Recording) numbered(number string) int {
	n, _ := strconv.Atoi(number)
	for i, l := range r.Lanes {
		if l.Kind == Server && l.Name == "S"+strconv.Itoa(n) {
			return i
		}
	}
	return NoLane
}

// merge puts lines, in the order of their offsets, between events.
func (r *Recording) merge(lines []Event) {
	events := r.Events
	merged := make([]Event, 0, len(events)+len(lines))
	next := 0
	for _, line := range lines {
		// The events from at on saw the line.
		at := next + sort.Search(len(events)-next, func(i int) bool { return events[next+i].Output > line.Output })
		merged = append(merged, events[next:at]...)
		next = at
		switch {
		case at < len(events) && (at == 0 || line.Lane != NoLane && events[at].Lane == line.Lane):
			line.Time = events[at].Time
		case at > 0:
			line.Time = events[at-1].Time
		}
		line.Output = 0
		merged = append(merged, line)
	}
	r.Events = slices.DeleteFunc(append(merged, events[next:]...), func(e Event) bool { return e.Kind == Noted && e.Text == "" })
	for i := range r.Events {
		r.Events[i].Output = 0
	}
}
