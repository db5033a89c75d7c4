// Package labtrace records the networks of the lab suites, and puts messages of unknown
// programs into words.
package labtrace

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"raftlab/labgob"
	"raftlab/trace"
)

// Bounds of a description.
const (
	maxText    = 200 // bytes of the text of a message
	maxCommand = 60  // bytes of the text of a command
	maxEntries = 64  // entries of an AppendEntries
	maxParts   = 8   // elements of a list in a text
	maxNumbers = 16  // numbers of a list that is shown as a whole
	maxLayers  = 3   // encodings of a command in another encoding
)

// Describe puts the body of each message of a recording into words, and takes the body
// out. A message that is no value of labgob has no text.
func Describe(run *trace.Recording) {
	if !slices.ContainsFunc(run.Events, func(e trace.Event) bool { return len(e.Data) > 0 }) {
		return // described already
	}
	texts := make(map[uint64]content) // by message; each has several events
	m := newMatcher()
	for i := range run.Events {
		e := &run.Events[i]
		var known content
		if e.Kind > 0 && e.Kind <= trace.Lost {
			var ok bool
			if known, ok = texts[e.Message]; !ok {
				known = describe(e, run)
				texts[e.Message] = known
			}
		}
		m.note(e, known)
		if e.Kind > trace.Lost || e.Kind == 0 {
			continue
		}
		e.Fields, e.Entries, e.Data = known.Fields, known.Entries, nil
		if e.Kind == trace.Lost && e.Text != "" {
			e.Text += "; " + known.Text
			continue
		}
		e.Text = known.Text
	}
}

// The content of a message.
type content struct {
	trace.Event            // the fields, the entries and the text
	values      []string   // of a message that is not of Raft
	commands    [][]string // the values of each entry
}

// describe returns the content of a message.
func describe(e *trace.Event, run *trace.Recording) content {
	if len(e.Data) == 0 {
		return content{}
	}
	v, err := labgob.View(e.Data)
	if err != nil {
		return unread(fmt.Sprintf("%d bytes", len(e.Data)), run.RPC(e.Name))
	}
	d := describer{kind: run.RPC(e.Name), rpcs: run.RPCs}
	if d.kind == "" && !e.Reply {
		d.out.values = values(nil, v)
	}
	body, ok := v.(labgob.Struct)
	if !ok {
		if d.kind != "" {
			return unread(clip(words(v), maxText), d.kind)
		}
		d.out.Text = clip(words(v), maxText)
		return d.out
	}
	if text, ok := service(body); ok {
		d.out.Text = clip(text, maxText)
		return d.out
	}
	if !e.Reply {
		d.sender = run.Lanes[e.Lane].Name
	}
	d.out.Fields = make(map[trace.Field]int)
	d.understand(body, e.Reply)
	entries := d.parts
	d.parts = nil
	for _, f := range body {
		d.field(f)
	}
	if d.out.Fields[trace.FieldUnknown] == 1 {
		d.parts, entries = slices.Insert(d.parts, 0, notRecognized), nil
	}
	d.out.Text = clip(strings.Join(append(d.parts, entries...), ", "), maxText)
	if len(d.out.Fields) == 0 {
		d.out.Fields = nil
	}
	return d.out
}

// unread returns the content of a message that is no struct. A message of Raft is then not understood.
func unread(text, kind string) content {
	c := content{Event: trace.Event{Text: text}}
	if kind != "" {
		c.Fields = map[trace.Field]int{trace.FieldUnknown: 1}
		c.Text = notRecognized + ", " + text
	}
	return c
}

// A describer collects the content of one message.
type describer struct {
	kind   string // the paper's name of the RPC
	sender string // the lane of a request's sender
	rpcs   *trace.RPCs
	out    content
	parts  []string
}

// field puts a field into words. Entries have words already.
func (d *describer) field(f labgob.Field) {
	lower := strings.ToLower(strings.ReplaceAll(f.Name, "_", ""))
	if _, known := d.out.Fields[trace.FieldEntries]; known && (isEntries(lower) || len(d.out.Entries) > 0 && (isCommands(lower) || strings.Contains(lower, "terms"))) {
		return
	}
	text := f.Name + " " + words(f.Value)
	if id, ok := number(f.Value); ok && d.kind != "" && d.sender != "" && (lower == "candidateid" || lower == "leaderid") && !strings.HasSuffix(d.sender, fmt.Sprint(id)) {
		text += fmt.Sprintf(" (sent by %s)", d.sender)
	}
	d.parts = append(d.parts, text)
}

// number converts a number or a bool.
func number(v any) (int, bool) {
	switch n := v.(type) {
	case int64:
		return int(n), true
	case uint64:
		return int(n), true
	case bool:
		if n {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// entries describes the entries of an AppendEntries.
func (d *describer) entries(list []any) {
	d.out.Fields[trace.FieldEntries] = len(list)
	var shown []string
	for _, v := range list[:min(len(list), maxEntries)] {
		e := entry(v)
		d.out.Entries = append(d.out.Entries, e)
		d.out.commands = append(d.out.commands, commandValues(v))
		if len(shown) < maxParts {
			shown = append(shown, fmt.Sprintf("%s (term %d)", e.Command, e.Term))
		}
	}
	if more := len(list) - len(shown); more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", more))
	}
	if len(shown) > 0 {
		d.parts = append(d.parts, "entries "+strings.Join(shown, ", "))
	}
}

// entry describes an entry. The term has the name Term, and the command is the field with
// the name of a command, or all other fields.
func entry(v any) trace.Entry {
	fields, ok := v.(labgob.Struct)
	if !ok {
		return trace.Entry{Command: clip(words(v), maxCommand)}
	}
	var e trace.Entry
	var others []string
	for _, f := range fields {
		switch strings.ToLower(f.Name) {
		case "term":
			e.Term, _ = number(f.Value)
		case "command", "cmd", "data", "op":
			e.Command = Command(f.Value)
		case "index":
		default:
			others = append(others, f.Name+" "+words(f.Value))
		}
	}
	if e.Command == "" {
		e.Command = clip(strings.Join(others, ", "), maxCommand)
	}
	return e
}

// Command describes a command of a log, which may be a value or the bytes of an encoded
// value. The same command has the same words in a message and in [CommandOf].
func Command(v any) string { return clip(words(decoded(v)), maxCommand) }

// decoded returns the content of a command that is encoded, and other commands as they are.
func decoded(v any) any {
	if data, ok := v.([]byte); ok {
		return decode(data)
	}
	return v
}

// decode decodes a value in layers of encodings. Other bytes stay bytes.
func decode(data []byte) (v any) {
	for range maxLayers {
		if named, err := labgob.ViewMessage(data); err == nil {
			v = named.Value
		} else if inner, err := labgob.View(data); err == nil {
			v = inner
		} else if request, ok := viewRequest(data); ok {
			return request
		} else {
			return data
		}
		var more bool
		if data, more = v.([]byte); !more {
			break
		}
	}
	return v
}

// CommandOf describes a command in the memory of the program.
func CommandOf(v any) string {
	switch v := v.(type) {
	case nil, string, bool, int, int64, uint64:
		return clip(words(v), maxCommand)
	}
	data, err := labgob.Encode(v)
	if err != nil {
		return clip(fmt.Sprint(v), maxCommand)
	}
	viewed, err := labgob.View(data)
	if err != nil {
		return clip(fmt.Sprint(v), maxCommand)
	}
	return Command(viewed)
}

// words describes a value of labgob.View, or any other value, in short.
func words(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case string:
		return quoted(v)
	case []byte:
		if len(v) > 0 && len(v) <= 24 && printable(string(v)) {
			return quoted(string(v))
		}
		return fmt.Sprintf("%d bytes", len(v))
	case labgob.Named:
		return words(v.Value)
	case labgob.Struct:
		if text, ok := service(v); ok {
			return text
		}
		var parts []string
		for _, f := range v {
			if f.Value != nil && f.Value != "" && f.Value != false { // most of the fields, and of no interest
				parts = append(parts, f.Name+":"+words(f.Value))
			}
		}
		return "{" + strings.Join(parts, " ") + "}"
	case labgob.Map:
		var parts []string
		for _, p := range v[:min(len(v), maxParts)] {
			parts = append(parts, words(p.Key)+":"+words(p.Value))
		}
		return "{" + strings.Join(parts, " ") + more(len(v)) + "}"
	case []any:
		var parts []string
		most := maxParts
		if len(v) <= maxNumbers && !slices.ContainsFunc(v, func(e any) bool { _, ok := number(e); return !ok }) {
			most = maxNumbers // such as the groups of all shards
		}
		for _, e := range v[:min(len(v), most)] {
			parts = append(parts, words(e))
		}
		if most == maxNumbers {
			return "[" + strings.Join(parts, " ") + "]"
		}
		return "[" + strings.Join(parts, " ") + more(len(v)) + "]"
	}
	return fmt.Sprint(v)
}

func more(n int) string {
	if n > maxParts {
		return fmt.Sprintf(" and %d more", n-maxParts)
	}
	return ""
}

func quoted(s string) string { return strconv.Quote(clip(s, maxCommand)) }

func printable(s string) bool {
	for _, c := range s {
		if c == unicode.ReplacementChar || !unicode.IsPrint(c) {
			return false
		}
	}
	return true
}

// clip shortens a text in the middle.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most*2/3], "") + "…" + strings.ToValidUTF8(s[len(s)-most/3+3:], "")
}
