// Package history reads recorded histories and checks them for linearizability. Systems
// written in any language can be checked. The command is `raftlab check`.
//
// A history is a file of JSON lines. Each line is one operation, and the lines may be in
// any order:
//
//	{"client": 1, "op": "put", "key": "x", "value": "a", "call": 10, "return": 25}
//	{"client": 2, "op": "get", "key": "x", "output": "a", "call": 12, "return": 30}
//	{"client": 3, "op": "put", "key": "x", "value": "b", "call": 40}
//
// Call and return are whole numbers from a clock that all clients share, in any unit. An
// operation without a return, or with a return of null, never returned. Such an operation
// may have taken effect at any time after its call, or never. The file is UTF-8. Empty lines
// are skipped, and a history without operations is legal.
//
// The model decides which fields an operation has:
//
//	model      op        fields                        output
//	kv         get       key                           the value, "" or null if there is none
//	           put       key, value
//	           append    key, value
//	register   read      key (optional)                the value, null at first
//	           write     key (optional), value
//	cas        read, write as register
//	           cas       key (optional), expect, value true if the swap took effect
//	versioned  get       key                           {"value", "version", "ok"}, or {"ok": false}
//	           put       key, value                    the new version, 0 if not told
//	           append    key, value                    the new version, 0 if not told
//	           delete    key                           true if the key was there
//	           cas       key, version, value           {"ok", "version"}
//	store      as versioned, and
//	           scan                                    {key: value, ...}
//	queue      push      key, value
//	           pop, peek key                           the value, null if the queue is empty
//	set        add, remove, contains  key, value       true or false
//	           read      key                           [elements]
//	lock       acquire, release  key, value (optional) true or false
//	list       append    key, value
//	           read      key                           [elements]
//
// Keys are strings, and so are the values of all models but register and cas. Values of
// register and cas are strings, numbers, true, false or null. Numbers are equal if their
// values are, so 1, 1.0 and 10e-1 are one value. A cas of a versioned key without a version,
// or with version 0, expects that the key is absent. The {"ok", "version"} of a cas may leave out the
// version. The value of a lock operation is the owner, and the client is the owner if
// the value is left out.
//
// A line is checked strictly, because a guess could change the verdict. A field of the table
// that is missing or has another type, a field that the operation does not have, an
// unknown or repeated field, and an output without a return are errors with the number of the
// line. A completed operation needs its output. Any field may be null where the operation has no use for
// it.
package history

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"raftlab/porcupine"
)

// ErrFormat is the error of a history that cannot be read. The error that wraps ErrFormat
// names the line.
var ErrFormat = errors.New("cannot read history")

// MaxLine is the greatest length of a line, in bytes.
const MaxLine = 16 << 20

// Some editors begin a UTF-8 file with a byte order mark.
var byteOrderMark = []byte("\uFEFF")

// Names returns the sorted names of the models.
func Names() []string { return slices.Sorted(maps.Keys(formats)) }

// Model returns the model of the given name.
func Model(name string) (porcupine.Model, error) {
	f, ok := formats[name]
	if !ok {
		return porcupine.Model{}, fmt.Errorf("no model %q: the models are %s", name, strings.Join(Names(), ", "))
	}
	return f.model, nil
}

// Read reads a history of the named model. The error wraps ErrFormat and names the line.
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

// read reads one line.
func (f format) read(text []byte) (o porcupine.Operation, err error) {
	l, err := parseLine(text)
	if err != nil {
		return o, err
	}
	if o, err = l.envelope(); err != nil {
		return o, err
	}
	op, err := take[string]("op", &l.op)
	if err != nil {
		return o, err
	}
	input, output, err := f.operation(op, l)
	if err == nil {
		err = l.surplus(op)
	}
	if o.Input = input; l.returned() {
		o.Output = output
	}
	return o, err
}
