// Package play is the engine of the playground: a world of real cores in a visitor's hands.
//
// A run is a list of script commands (package script), so a run can be shared, saved,
// replayed by go test, and taken back to any command. A [Session] runs commands and returns
// a [Frame] for each of them. The frame has the state of every server in the words of
// Figure 2, the messages on their way, and a note on each effect with the rule, the place
// in the paper and the place in the code.
//
// [Session.Handle] is the boundary to a page: a request and a response in JSON. Package
// wasm exports the boundary to JavaScript. [ParseLesson] reads the lessons of docs/lessons.
package play

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"raftlab/raft/core/script"
)

// Errors of a session.
var (
	// ErrRequest reports a request without JSON, or with an unknown op or bug.
	ErrRequest = errors.New("bad request")
	// ErrLesson reports a lesson with missing parts. The text has file and line.
	ErrLesson = errors.New("bad lesson")
)

// Request is a request of a page. Op is one of
//
//	run     the frames behind the first From of Lines
//	check   whether Conditions hold behind Lines
//	record  Lines as a script of raft/core/testdata
//	load    the commands of the script Text
//	story   the script Text as a lesson without a question
//	lesson  the lesson Text
type Request struct {
	Op string
	// Bug is the bug of the cores, empty for correct ones. A bug other than the last
	// request's begins a new run.
	Bug        string
	Lines      []string
	From       int
	Conditions []string
	Name       string // of a file, for errors
	Text       string
}

// Response is the answer to a request.
type Response struct {
	Frames []*Frame `json:"frames,omitempty"` // run
	Lines  []string `json:"lines,omitempty"`  // load
	Text   string   `json:"text,omitempty"`   // record
	Holds  bool     `json:"holds,omitempty"`  // check
	Why    string   `json:"why,omitempty"`    // check: the condition that does not hold
	Lesson *Lesson  `json:"lesson,omitempty"`
	Error  string   `json:"error,omitempty"`
}

// Session is a visitor's run. A session belongs to one goroutine.
type Session struct {
	// Plant gives all cores of the process a bug. nil means no bugs.
	Plant func(bug string) error

	bug    string
	lines  []string
	frames []*Frame // frames[i] is the state behind lines[:i]
	run    *runner
}

// NewSession returns a session without a cluster.
func NewSession() *Session {
	s := &Session{}
	s.restart()
	return s
}

func (s *Session) restart() {
	s.run = newRunner()
	s.lines, s.frames = nil, []*Frame{s.run.frame("", nil, nil)}
}

// Handle answers a request in JSON. The response of a failed request has an error.
func (s *Session) Handle(request []byte) []byte {
	var req Request
	var res *Response
	err := json.Unmarshal(request, &req)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrRequest, err)
	} else {
		res, err = s.answer(req)
	}
	if err != nil {
		res = &Response{Error: err.Error()}
	}
	out, err := json.Marshal(res)
	if err != nil {
		return []byte(`{"error":"the response is no JSON"}`)
	}
	return out
}

func (s *Session) answer(req Request) (*Response, error) {
	if err := s.plant(req.Bug); err != nil {
		return nil, err
	}
	switch req.Op {
	case "run":
		frames, err := s.Run(req.Lines)
		if err != nil {
			return nil, err
		}
		return &Response{Frames: frames[min(max(req.From, 0), len(frames)):]}, nil
	case "check":
		why, err := s.Check(req.Lines, req.Conditions)
		return &Response{Holds: err == nil && why == "", Why: why}, err
	case "record":
		text, err := s.Record(req.Lines)
		return &Response{Text: text}, err
	case "load":
		lines, err := s.Load(req.Name, req.Text)
		return &Response{Lines: lines}, err
	case "story":
		lesson, err := ParseStory(req.Name, req.Text)
		return &Response{Lesson: lesson}, err
	case "lesson":
		lesson, err := ParseLesson(req.Name, req.Text)
		return &Response{Lesson: lesson}, err
	}
	return nil, fmt.Errorf("%w: op %q", ErrRequest, req.Op)
}

// plant changes the bug of the cores.
func (s *Session) plant(bug string) error {
	if bug == s.bug {
		return nil
	}
	if s.Plant == nil {
		return fmt.Errorf("%w: bug %q; the cores of this session are correct", ErrRequest, bug)
	}
	if err := s.Plant(bug); err != nil {
		return fmt.Errorf("%w: %w", ErrRequest, err)
	}
	s.bug = bug
	s.restart()
	return nil
}

// Run returns the frames of a run, one more than lines, up to the first failed command.
// The session keeps the frames of earlier commands.
func (s *Session) Run(lines []string) ([]*Frame, error) {
	if len(lines) > script.MaxLines {
		return nil, fmt.Errorf("%w: %d commands; at most %d are allowed", script.ErrLimit, len(lines), script.MaxLines)
	}
	common := 0
	for common < min(len(lines), len(s.lines)) && lines[common] == s.lines[common] {
		common++
	}
	if common == len(lines) {
		return s.frames[:common+1], nil // a look back
	}
	if common < len(s.lines) {
		s.restart()
		common = 0
	}
	for _, line := range lines[common:] {
		f := s.run.do(line)
		if f.Error != "" {
			failed := append(s.frames[:len(s.frames):len(s.frames)], f)
			s.restart() // a failed command may have done a part of its work
			return failed, nil
		}
		s.lines, s.frames = append(s.lines, line), append(s.frames, f)
	}
	return s.frames, nil
}

// Check returns the first broken condition behind lines, empty if all hold. A
// condition is the part of an expect command behind the word expect.
func (s *Session) Check(lines, conditions []string) (why string, err error) {
	r := newRunner()
	for _, line := range lines {
		if f := r.do(line); f.Error != "" {
			return "", fmt.Errorf("%s: %s", line, f.Error)
		}
	}
	for _, cond := range conditions {
		_, err := r.world.Do("expect " + cond)
		switch {
		case errors.Is(err, script.ErrUnexpected), errors.Is(err, script.ErrDown):
			return err.Error(), nil
		case err != nil:
			return "", err
		}
	}
	return "", nil
}

// Record returns a run as a script with the effects, in the format of raft/core/testdata.
// Commands without an effect share a block with the next one.
func (s *Session) Record(lines []string) (string, error) {
	var b strings.Builder
	var w script.World
	open := false
	for i, line := range lines {
		effects, err := w.Do(line)
		if err != nil {
			return "", fmt.Errorf("command %d: %q: %w", i+1, line, err)
		}
		b.WriteString(line + "\n")
		if open = true; len(effects) == 0 {
			continue
		}
		b.WriteString(script.Separator + "\n")
		for _, e := range effects {
			b.WriteString(e.Text + "\n")
		}
		b.WriteString("\n")
		open = false
	}
	if open {
		b.WriteString(script.Separator + "\nnothing to see\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n", nil
}

// Load returns the commands of a script, after a run to the end. The error names the file
// and the line.
func (s *Session) Load(name, text string) ([]string, error) {
	commands, err := script.Commands(text)
	if err != nil {
		return nil, &script.Error{File: name, Line: 1, Err: err}
	}
	var w script.World
	var lines []string
	for _, c := range commands {
		if _, err := w.Do(c.Text); err != nil {
			return nil, &script.Error{File: name, Line: c.Line, Err: err}
		}
		lines = append(lines, c.Text)
	}
	return lines, nil
}
