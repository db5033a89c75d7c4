// Package history reads recorded histories and checks them, so that systems
// which are not written in Go can be checked too: `raftlab check` is its command.
//
// A history is a file of JSON lines, one operation each, in any order:
//
//	{"client": 1, "op": "put", "key": "x", "value": "a", "call": 10, "return": 25}
//	{"client": 2, "op": "get", "key": "x", "output": "a", "call": 12, "return": 30}
//	{"client": 3, "op": "put", "key": "x", "value": "b", "call": 40}
//
// call and return are whole numbers from any clock that all clients share, in any unit. An
// operation without a return (or with null) never returned: it may have taken effect at any
// time after its call, or never. Empty lines are skipped, and a history without any is
// legal. The file is UTF-8. What op, value, expect, version and output mean depends on the
// model:
//
//	model      op        fields                        output
//	kv         get       key                           the value, "" if there is none
//	           put       key, value
//	           append    key, value
//	register   read      key (optional, as below)      the value, null at first
//	           write     value
//	cas        read, write as register
//	           cas       expect, value                 true if it took effect
//	versioned  get       key                           {"value", "version", "ok"}
//	           put       key, value                    the new version
//	           append    key, value                    the new version
//	           delete    key                           true if the key was there
//	           cas       key, version, value           {"ok", "version"}
//	store      as versioned, and
//	           scan                                    {key: value, ...}
//	queue      push      key, value
//	           pop, peek key                           the value, null if it is empty
//	set        add, remove, contains  key, value       true or false
//	           read      key                           [elements]
//	lock       acquire, release  key, value (the owner; the client if left out)  true or false
//	list       append    key, value
//	           read      key                           [elements]
//
// Keys, and the values of all models but register and cas, are strings.
package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"raftlab/porcupine"
)

// ErrFormat is the error of a history that cannot be read. What wraps it names
// the line.
var ErrFormat = errors.New("cannot read history")

// MaxLine is the length, in bytes, that a line may have.
const MaxLine = 16 << 20

// byteOrderMark is what some editors begin a UTF-8 file with.
var byteOrderMark = []byte("\uFEFF")

// line is an operation as it stands in a file.
type line struct {
	Client  int             `json:"client"`
	Op      string          `json:"op"`
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value"`
	Expect  json.RawMessage `json:"expect"`
	Version uint64          `json:"version"`
	Output  json.RawMessage `json:"output"`
	Call    *int64          `json:"call"`
	Return  *int64          `json:"return"`
}

// Names returns the names of the models, sorted.
func Names() []string { return slices.Sorted(maps.Keys(formats)) }

// Model returns the model of a name.
func Model(name string) (porcupine.Model, error) {
	f, ok := formats[name]
	if !ok {
		return porcupine.Model{}, fmt.Errorf("there is no model %q; the models are %s", name, strings.Join(Names(), ", "))
	}
	return f.model, nil
}

// Read reads a history of the named model. The error wraps ErrFormat and names the line, or is
// one of reading.
func Read(r io.Reader, model string) ([]porcupine.Operation, error) {
	if _, err := Model(model); err != nil {
		return nil, err
	}
	format := formats[model]
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, MaxLine)
	var operations []porcupine.Operation
	n := 0
	for scanner.Scan() {
		n++
		text := scanner.Bytes()
		if n == 1 {
			text = bytes.TrimPrefix(text, byteOrderMark)
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			o, err := format.read(text)
			if err != nil {
				return nil, fmt.Errorf("%w: line %d: %w", ErrFormat, n, err)
			}
			operations = append(operations, o)
		}
	}
	if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("%w: line %d: longer than %d bytes", ErrFormat, n+1, MaxLine)
	} else if err != nil {
		return nil, fmt.Errorf("%w: line %d: %w", ErrFormat, n+1, err)
	}
	return operations, nil
}

func (f format) read(text []byte) (porcupine.Operation, error) {
	if !utf8.Valid(text) {
		return porcupine.Operation{}, errors.New("not UTF-8") // what is replaced could make two values one
	}
	var l line
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&l); err != nil {
		return porcupine.Operation{}, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return porcupine.Operation{}, errors.New("more than one value on the line")
	}
	if l.Call == nil {
		return porcupine.Operation{}, errors.New(`no "call"`)
	}
	o := porcupine.Operation{ClientId: l.Client, Call: *l.Call, Return: porcupine.Pending}
	input, output, err := f.operation(&l)
	if err != nil {
		return porcupine.Operation{}, err
	}
	o.Input = input
	if l.Return != nil {
		if *l.Return < *l.Call {
			return porcupine.Operation{}, fmt.Errorf("returns at %d, before its call at %d", *l.Return, *l.Call)
		}
		o.Output, o.Return = output, *l.Return
	}
	return o, nil
}
