package trace

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Version is the version of the file's format.
const Version = 1

// formatName begins each file.
const formatName = "raftlab trace"

// ErrFormat is returned for other files, and for other versions of the format.
var ErrFormat = errors.New("trace: not a recording")

// maxLine bounds a line of a file.
const maxLine = 16 << 20

// A line of a file is a header, a lane, a breach or an event. The first line is the header.
type line struct {
	Format  string `json:"format,omitempty"`
	Version int    `json:"version,omitempty"`
	*Recording
	Lane   *Lane   `json:"lane,omitempty"`
	Breach *Breach `json:"breach,omitempty"`
	Event  *Event  `json:"ev,omitempty"`
}

// Header returns the first line of a stream of [Options.Stream].
func Header(test, repeat string) []byte {
	return mustLine(line{Format: formatName, Version: Version, Recording: &Recording{Test: test, Repeat: repeat, Lanes: []Lane{}}})
}

func mustLine(l line) []byte {
	data, err := json.Marshal(l)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return append(data, '\n')
}

// Write writes a recording, one JSON value a line.
func (r *Recording) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	out.Write(mustLine(line{Format: formatName, Version: Version, Recording: r}))
	var buf []byte
	for i := range r.Events {
		buf = appendEvent(buf[:0], &r.Events[i])
		out.Write(buf)
	}
	return out.Flush()
}

// WriteFile writes a recording to a file.
func WriteFile(path string, r *Recording) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := r.Write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Read reads a recording. The end of a stream may be cut off within a line.
func Read(from io.Reader) (*Recording, error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	var r *Recording
	for n := 1; lines.Scan(); n++ {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			if r != nil && !lines.Scan() {
				break // the run ended here
			}
			return nil, fmt.Errorf("%w: line %d: %w", ErrFormat, n, err)
		}
		if r != nil && l.Format == formatName && l.Recording != nil {
			if len(r.Breaches) > 0 {
				break // the recording of the next network of the test
			}
			l.Recording.streamed = r.streamed + len(r.Events)
			r = l.Recording
			continue
		}
		if r == nil {
			if l.Format != formatName || l.Recording == nil {
				return nil, fmt.Errorf("%w: line 1 does not name the format %q", ErrFormat, formatName)
			}
			if l.Version != Version {
				return nil, fmt.Errorf("%w: version %d, and this program reads version %d", ErrFormat, l.Version, Version)
			}
			r = l.Recording
			continue
		}
		r.add(&l)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if r == nil {
		return nil, fmt.Errorf("%w: the file is empty", ErrFormat)
	}
	return r, r.check()
}

func (r *Recording) add(l *line) {
	switch {
	case l.Lane != nil:
		r.Lanes = append(r.Lanes, *l.Lane)
	case l.Breach != nil:
		r.Breaches = append(r.Breaches, *l.Breach)
	case l.Event != nil:
		r.Events = append(r.Events, *l.Event)
	}
}

// check refuses numbers of lanes that do not exist.
func (r *Recording) check() error {
	bad := func(i int) bool { return i < NoLane || i >= len(r.Lanes) }
	for i, e := range r.Events {
		if bad(e.Lane) || bad(e.Peer) || e.Kind <= Lost && e.Lane == NoLane {
			return fmt.Errorf("%w: event %d: lane %d or %d is not one of %d", ErrFormat, i, e.Lane, e.Peer, len(r.Lanes))
		}
	}
	for _, b := range r.Breaches {
		for _, l := range b.Lanes {
			if bad(l) || l == NoLane {
				return fmt.Errorf("%w: breach: lane %d is not one of %d", ErrFormat, l, len(r.Lanes))
			}
		}
	}
	return nil
}

// ReadFile reads a recording from a file.
func ReadFile(path string) (*Recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
