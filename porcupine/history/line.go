package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"raftlab/porcupine"
)

// line is one operation of a file. A missing field is nil. The model takes the fields of the
// operation and sets them to nil, so any field left at the end is surplus.
type line struct {
	client, op, key, value, expect, version, output, call, ret json.RawMessage

	clientID int
	pending  bool // the operation never returned
}

func (l *line) returned() bool { return !l.pending }

// envelope reads the fields that every operation has.
func (l *line) envelope() (o porcupine.Operation, err error) {
	if l.client != nil {
		l.clientID, err = take[int]("client", &l.client)
	}
	o.ClientId, o.Return = l.clientID, porcupine.Pending
	if err == nil {
		o.Call, err = take[int64]("call", &l.call)
	}
	if l.pending = l.ret == nil || bytes.Equal(l.ret, null); err == nil && !l.pending {
		o.Return, err = take[int64]("return", &l.ret)
	}
	switch {
	case err != nil:
	case o.Return < o.Call:
		err = fmt.Errorf("returns at %d, before its call at %d", o.Return, o.Call)
	case !l.pending && o.Return == porcupine.Pending:
		err = fmt.Errorf("returns at %d: want less", o.Return)
	}
	return o, err
}

// field returns the field of the given name, or nil if lines have no such field.
func (l *line) field(name string) *json.RawMessage {
	switch name {
	case "client":
		return &l.client
	case "op":
		return &l.op
	case "key":
		return &l.key
	case "value":
		return &l.value
	case "expect":
		return &l.expect
	case "version":
		return &l.version
	case "output":
		return &l.output
	case "call":
		return &l.call
	case "return":
		return &l.ret
	}
	return nil
}

// parseLine splits a line into its fields, which share the text's memory.
func parseLine(text []byte) (*line, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8") // package json would replace the bytes, and two values could become equal
	}
	if !json.Valid(text) {
		return nil, invalid(text)
	}
	if err := pairedSurrogates(text); err != nil {
		return nil, err
	}
	l := &line{}
	return l, object(text, l.field)
}

// invalid returns the error of a text that is not one JSON value.
func invalid(text []byte) error {
	var first json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&first); err != nil {
		return err
	}
	return errors.New("more than one value on the line")
}

// object splits a valid JSON object into its fields. Names are exact and occur once. Package
// json would match names in any case and let a repeated field win.
func object(text []byte, field func(name string) *json.RawMessage) error {
	if text[0] != '{' {
		return fmt.Errorf("%.20s: want an object", text)
	}
	for rest := space(text[1:]); rest[0] != '}'; {
		size := valueSize(rest)
		var name string
		if err := json.Unmarshal(rest[:size], &name); err != nil {
			return err
		}
		raw := field(name)
		switch {
		case raw == nil:
			return fmt.Errorf("unknown field %q", name)
		case *raw != nil:
			return fmt.Errorf("field %q twice", name)
		}
		rest = space(space(rest[size:])[1:]) // after the colon
		size = valueSize(rest)
		*raw = json.RawMessage(rest[:size:size])
		if rest = space(rest[size:]); rest[0] == ',' {
			rest = space(rest[1:])
		}
	}
	return nil
}

// space cuts leading white space.
func space(text []byte) []byte { return bytes.TrimLeft(text, " \t\r\n") }

// valueSize returns the length of the JSON value that a valid text begins with.
func valueSize(text []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
			if !quoted && depth == 0 {
				return i + 1
			}
		case quoted:
		case c == '{' || c == '[':
			depth++
		case depth == 0 && strings.IndexByte(",:]} \t\r\n", c) >= 0:
			return i // a number or a word ends here
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

// pairedSurrogates refuses an escape of half a character. Package json decodes all such
// escapes to the same replacement character, and two values could become equal.
func pairedSurrogates(text []byte) error {
	high := false // the escape before was the first half
	for i := 0; i < len(text); i++ {
		unit := escapedUnit(text[i:])
		low := unit >= 0xdc00 && unit < 0xe000
		if low != high {
			return errors.New(`half of a \u surrogate pair`)
		}
		high = unit >= 0xd800 && unit < 0xdc00
		switch {
		case unit >= 0:
			i += len(`\ud800`) - 1
		case text[i] == '\\':
			i++
		}
	}
	return nil
}

// escapedUnit returns the code unit of the \u escape that the text begins with, or -1.
func escapedUnit(text []byte) int64 {
	if len(text) < len(`\ud800`) || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int64(unit)
}

// take reads a field into a value of type T and sets the field to nil. A missing field and
// null are errors.
func take[T any](name string, raw *json.RawMessage) (value T, err error) {
	text := *raw
	*raw = nil
	if text == nil {
		return value, fmt.Errorf("no %q", name)
	}
	if bytes.Equal(text, null) || json.Unmarshal(text, &value) != nil {
		return value, fmt.Errorf("%s %s: want %s", name, text, typeNames[fmt.Sprintf("%T", value)])
	}
	return value, nil
}

// optional is take for a field that may be missing or null, which is the zero T.
func optional[T any](name string, raw *json.RawMessage) (value T, err error) {
	if *raw == nil || bytes.Equal(*raw, null) {
		*raw = nil
		return value, nil
	}
	return take[T](name, raw)
}

var null = []byte("null")

// typeNames are the names of types in errors.
var typeNames = map[string]string{
	"string":            "a string",
	"bool":              "true or false",
	"int":               "a whole number",
	"int64":             "a whole number",
	"uint64":            "a whole number of at least 0",
	"[]json.RawMessage": "an array of strings",
}

// takeStrings reads an array of strings. Package json would read a null element as "".
func takeStrings(name string, raw *json.RawMessage) ([]string, error) {
	elements, err := take[[]json.RawMessage](name, raw)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(elements))
	for i := range elements {
		if texts[i], err = take[string](fmt.Sprintf("%s, element %d:", name, i), &elements[i]); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// takeMap reads an object of strings.
func takeMap(name string, raw *json.RawMessage) (map[string]string, error) {
	text := *raw
	*raw = nil
	if text == nil {
		return nil, fmt.Errorf("no %q", name)
	}
	fields := make(map[string]*json.RawMessage)
	err := object(text, func(key string) *json.RawMessage {
		if fields[key] == nil {
			fields[key] = new(json.RawMessage)
		}
		return fields[key]
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	texts := make(map[string]string, len(fields))
	for key, value := range fields {
		if texts[key], err = take[string](fmt.Sprintf("%s, key %q:", name, key), value); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// surplus returns an error if the line has a field that its op does not take. Null is allowed,
// and so is an output of "", which recorders write for a call without an answer.
func (l *line) surplus(op string) error {
	for _, name := range []string{"key", "value", "expect", "version", "output"} {
		raw := *l.field(name)
		if raw == nil || bytes.Equal(raw, null) || name == "output" && string(raw) == `""` {
			continue
		}
		if name == "output" && l.pending {
			return fmt.Errorf("output %s: an operation without a return has none", raw)
		}
		return fmt.Errorf("%s %s: op %q has none", name, raw, op)
	}
	return nil
}
