package play

import (
	"fmt"
	"strings"

	"raftlab/raft/core/script"
)

// Lesson is a script with words between the parts, and a question at the end.
type Lesson struct {
	Title string `json:"title"`
	// Core is the bug of the cores, empty for correct cores.
	Core     string   `json:"core,omitempty"`
	Parts    []Part   `json:"parts"`
	Question Question `json:"question"`
}

// Part is some words, in Markdown, and the commands behind them.
type Part struct {
	Words    string           `json:"words"`
	Commands []script.Command `json:"commands"`
}

// Question ends a lesson. A question has choices, or exact answers, or conditions to be
// reached.
type Question struct {
	Ask     string   `json:"ask"`
	Choices []Choice `json:"choices,omitempty"`
	Answers []string `json:"answers,omitempty"` // each is right, capitals aside
	// Reach are conditions of expect. The visitor continues the run until all hold.
	Reach   []string `json:"reach,omitempty"`
	Because string   `json:"because"` // why the right answer is right
	// Proof continues the lesson and shows the answer, with expect commands. For
	// conditions to be reached the proof is a solution.
	Proof []script.Command `json:"proof"`
}

// Choice is one possible answer.
type Choice struct {
	Text  string `json:"text"`
	Right bool   `json:"right"`
}

// Lines returns the commands of the lesson.
func (l *Lesson) Lines() []string {
	var lines []string
	for _, p := range l.Parts {
		for _, c := range p.Commands {
			lines = append(lines, c.Text)
		}
	}
	return lines
}

// lessonReader reads the lines of a lesson.
type lessonReader struct {
	name   string
	lesson Lesson
	words  []string
	block  string // name of the open fence, empty outside
	opened int    // line of the open fence
	proof  bool   // the lines of the question are commands
}

// ParseLesson reads a lesson. A lesson is Markdown:
//
//	# TITLE
//	Core: `BUG`          if the cores have a bug
//	words
//	```script            commands of package script
//	```question          the end; lines begin with ask:, choice:, right:, answer:,
//	                     reach:, because: and proof:, with commands below
//
// The error names the file and the line.
func ParseLesson(name, text string) (*Lesson, error) {
	if len(text) > script.MaxBytes {
		return nil, &script.Error{File: name, Line: 1, Err: fmt.Errorf("%w: %d bytes; at most %d are allowed", script.ErrLimit, len(text), script.MaxBytes)}
	}
	r := &lessonReader{name: name}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if err := r.line(i+1, strings.TrimRight(line, "\r ")); err != nil {
			return nil, &script.Error{File: name, Line: i + 1, Err: err}
		}
	}
	if r.block != "" {
		return nil, &script.Error{File: name, Line: r.opened, Err: fmt.Errorf("%w: the block %s has no end", ErrLesson, r.block)}
	}
	if err := r.complete(); err != nil {
		return nil, &script.Error{File: name, Line: len(lines), Err: err}
	}
	return &r.lesson, nil
}

func (r *lessonReader) line(n int, line string) error {
	fence, isFence := strings.CutPrefix(line, "```")
	switch {
	case isFence && r.block != "":
		r.block = ""
	case isFence:
		return r.open(n, fence)
	case r.block == "script":
		if line != "" && !strings.HasPrefix(line, "#") {
			part := &r.lesson.Parts[len(r.lesson.Parts)-1]
			part.Commands = append(part.Commands, script.Command{Line: n, Text: line})
		}
	case r.block == "question":
		return r.question(n, line)
	case strings.HasPrefix(line, "# ") && r.lesson.Title == "":
		r.lesson.Title = line[2:]
	case strings.HasPrefix(line, "Core: `") && r.lesson.Core == "":
		r.lesson.Core = strings.TrimSuffix(strings.TrimPrefix(line, "Core: `"), "`")
	default:
		r.words = append(r.words, line)
	}
	return nil
}

// open begins a block.
func (r *lessonReader) open(n int, name string) error {
	r.block, r.opened = name, n
	switch name {
	case "script":
		r.lesson.Parts = append(r.lesson.Parts, Part{Words: r.takeWords()})
	case "question":
		if r.lesson.Question.Ask != "" {
			return fmt.Errorf("%w: a second question", ErrLesson)
		}
	default:
		return fmt.Errorf("%w: block %q; want script or question", ErrLesson, name)
	}
	return nil
}

func (r *lessonReader) takeWords() string {
	words := strings.TrimSpace(strings.Join(r.words, "\n"))
	r.words = nil
	return words
}

// question reads one line of the question.
func (r *lessonReader) question(n int, line string) error {
	q := &r.lesson.Question
	if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
		return nil
	}
	if r.proof {
		q.Proof = append(q.Proof, script.Command{Line: n, Text: line})
		return nil
	}
	key, value, _ := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	switch key {
	case "ask":
		q.Ask = join(q.Ask, value)
	case "choice", "right":
		q.Choices = append(q.Choices, Choice{value, key == "right"})
	case "answer":
		q.Answers = append(q.Answers, value)
	case "reach":
		q.Reach = append(q.Reach, value)
	case "because":
		q.Because = join(q.Because, value)
	case "proof":
		r.proof = true
	default:
		return fmt.Errorf("%w: %q in a question", ErrLesson, line)
	}
	return nil
}

// ParseStory reads a script of raft/core/testdata as a lesson without a question. The
// remarks are the words, and each block is a part. Recorded effects are left out.
func ParseStory(name, text string) (*Lesson, error) {
	commands, err := script.Commands(text)
	if err != nil {
		return nil, &script.Error{File: name, Line: 1, Err: err}
	}
	l := &Lesson{Title: name}
	lines := strings.Split(text, "\n")
	part, from := Part{}, 0
	add := func() {
		if part.Words != "" || len(part.Commands) > 0 {
			l.Parts = append(l.Parts, part)
		}
		part = Part{}
	}
	for _, c := range commands {
		for _, line := range lines[from : c.Line-1] {
			if remark, ok := strings.CutPrefix(line, "#"); ok {
				if len(part.Commands) > 0 {
					add()
				}
				part.Words = join(part.Words, strings.TrimSpace(remark))
			} else if len(part.Commands) > 0 {
				add() // an empty line, or recorded effects
			}
		}
		from = c.Line
		c.Text = strings.TrimPrefix(c.Text, "quiet ") // the page shows all effects
		part.Commands = append(part.Commands, c)
	}
	add()
	if len(l.Parts) == 0 {
		return nil, &script.Error{File: name, Line: 1, Err: fmt.Errorf("%w: no commands", ErrLesson)}
	}
	return l, nil
}

func join(a, b string) string { return strings.TrimSpace(a + " " + b) }

// complete checks the lesson for missing parts.
func (r *lessonReader) complete() error {
	l := &r.lesson
	if rest := r.takeWords(); rest != "" {
		l.Parts = append(l.Parts, Part{Words: rest})
	}
	q := l.Question
	right := 0
	for _, c := range q.Choices {
		if c.Right {
			right++
		}
	}
	kinds := min(len(q.Choices), 1) + min(len(q.Answers), 1) + min(len(q.Reach), 1)
	switch {
	case l.Title == "":
		return fmt.Errorf("%w: no title", ErrLesson)
	case len(l.Lines()) == 0:
		return fmt.Errorf("%w: no script", ErrLesson)
	case q.Ask == "" || q.Because == "" || len(q.Proof) == 0:
		return fmt.Errorf("%w: the question needs ask, because and proof", ErrLesson)
	case kinds != 1:
		return fmt.Errorf("%w: the question needs choices, or answers, or conditions to reach", ErrLesson)
	case len(q.Choices) > 0 && (right != 1 || len(q.Choices) < 2):
		return fmt.Errorf("%w: %d of %d choices are right; want one of at least two", ErrLesson, right, len(q.Choices))
	}
	return nil
}
