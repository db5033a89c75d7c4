package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
)

// format reads the operations of a model.
type format struct {
	model     porcupine.Model
	operation func(op string, l *line) (input, output any, err error)
}

var formats = map[string]format{
	"kv":        {models.KV, kv},
	"register":  {keyed(models.Register), register(false)},
	"cas":       {keyed(models.CASRegister), register(true)},
	"versioned": {models.KVVersioned, versioned(false)},
	"store":     {models.KVStore, versioned(true)},
	"queue":     {models.Queue, queue},
	"set":       {models.Set, set},
	"lock":      {models.Lock, lock},
	"list":      {models.ListAppend, list},
}

// opOf returns the operation of the given name.
func opOf[O any](name string, ops map[string]O) (O, error) {
	op, ok := ops[name]
	if !ok {
		return op, fmt.Errorf("the model has no op %q", name)
	}
	return op, nil
}

// fields reads the key, and the value if the op has one.
func (l *line) fields(hasValue bool) (key, value string, err error) {
	if key, err = take[string]("key", &l.key); err == nil && hasValue {
		value, err = take[string]("value", &l.value)
	}
	return key, value, err
}

func kv(name string, l *line) (any, any, error) {
	op, err := opOf(name, map[string]models.KVOp{"get": models.KVGet, "put": models.KVPut, "append": models.KVAppend})
	if err != nil {
		return nil, nil, err
	}
	in, out := models.KVInput{Op: op}, models.KVOutput{}
	if in.Key, in.Value, err = l.fields(op != models.KVGet); err == nil && op == models.KVGet && l.returned() {
		var value *string
		value, err = nullable("output", &l.output)
		if value != nil {
			out.Value = *value
		}
	}
	return in, out, err
}

// nullable reads a string, or null.
func nullable(name string, raw *json.RawMessage) (*string, error) {
	if *raw == nil {
		return nil, fmt.Errorf("no %q", name)
	}
	if bytes.Equal(*raw, null) {
		*raw = nil
		return nil, nil
	}
	text, err := take[string](name, raw)
	return &text, err
}

// keyedInput is the input of the register with the given key.
type keyedInput struct {
	key   string
	input models.RegisterInput
}

// keyed turns the model of one register into a model of one register for each key.
func keyed(m porcupine.Model) porcupine.Model {
	inner := func(input any) any { return input.(keyedInput).input }
	many := m
	many.Partition = func(history []porcupine.Operation) [][]porcupine.Operation {
		index := make(map[string]int)
		var parts [][]porcupine.Operation
		for _, o := range history {
			key := o.Input.(keyedInput).key
			if _, ok := index[key]; !ok {
				index[key] = len(parts)
				parts = append(parts, nil)
			}
			parts[index[key]] = append(parts[index[key]], o)
		}
		return parts
	}
	many.Step = func(state, input, output any) (bool, any) { return m.Step(state, inner(input), output) }
	many.StepPending = func(state, input any) []any { return m.StepPending(state, inner(input)) }
	many.Hint = &porcupine.Hint{Initial: m.Hint.Initial, Access: func(input, output any) porcupine.Access {
		return m.Hint.Access(inner(input), output)
	}}
	many.DescribeOperation = func(input, output any) string {
		in := input.(keyedInput)
		if in.key == "" {
			return m.DescribeOperation(in.input, output)
		}
		return in.key + ": " + m.DescribeOperation(in.input, output)
	}
	return many
}

func register(swaps bool) func(name string, l *line) (any, any, error) {
	ops := map[string]models.RegisterOp{"read": models.RegisterRead, "write": models.RegisterWrite}
	if swaps {
		ops["cas"] = models.RegisterCAS
	}
	return func(name string, l *line) (any, any, error) {
		op, err := opOf(name, ops)
		if err != nil {
			return nil, nil, err
		}
		in, out := models.RegisterInput{Op: op}, models.RegisterOutput{}
		key, err := optional[string]("key", &l.key)
		if err == nil && op != models.RegisterRead {
			in.Value, err = scalar("value", &l.value)
		}
		if err == nil && op == models.RegisterCAS {
			in.Expect, err = scalar("expect", &l.expect)
		}
		switch {
		case err != nil || !l.returned():
		case op == models.RegisterRead:
			out.Value, err = scalar("output", &l.output)
		case op == models.RegisterCAS:
			out.OK, err = take[bool]("output", &l.output)
		}
		return keyedInput{key, in}, out, err
	}
}

// scalar reads a value that == can compare. Equal numbers become equal values.
func scalar(name string, raw *json.RawMessage) (any, error) {
	text := *raw
	*raw = nil
	switch {
	case text == nil:
		return nil, fmt.Errorf("no %q", name)
	case text[0] == '-' || text[0] >= '0' && text[0] <= '9':
		return number(string(text))
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return nil, err
	}
	switch value.(type) {
	case nil, string, bool:
		return value, nil
	}
	return nil, fmt.Errorf("%s %s: want a string, a number, true, false or null", name, text)
}

func versioned(scans bool) func(name string, l *line) (any, any, error) {
	ops := map[string]models.VersionedOp{"get": models.VersionedGet, "put": models.VersionedPut, "append": models.VersionedAppend,
		"delete": models.VersionedDelete, "cas": models.VersionedCAS}
	if scans {
		ops["scan"] = models.VersionedScan
	}
	return func(name string, l *line) (any, any, error) {
		op, err := opOf(name, ops)
		if err != nil {
			return nil, nil, err
		}
		in, out := models.VersionedInput{Op: op}, models.VersionedOutput{}
		if op != models.VersionedScan {
			in.Key, in.Value, err = l.fields(op != models.VersionedGet && op != models.VersionedDelete)
		}
		if err == nil && op == models.VersionedCAS {
			in.Version, err = optional[uint64]("version", &l.version)
		}
		if err == nil && l.returned() {
			out, err = versionedOutput(op, l)
		}
		return in, out, err
	}
}

func versionedOutput(op models.VersionedOp, l *line) (out models.VersionedOutput, err error) {
	switch op {
	case models.VersionedPut, models.VersionedAppend:
		out.Version, err = take[uint64]("output", &l.output)
	case models.VersionedDelete:
		out.OK, err = take[bool]("output", &l.output)
	case models.VersionedScan:
		out.Scan, err = takeMap("output", &l.output)
	default:
		out, err = versionedAnswer(op, l)
	}
	return out, err
}

// versionedAnswer reads the output of a get or a compare-and-swap. A get that found its key
// needs the value and the version.
func versionedAnswer(op models.VersionedOp, l *line) (out models.VersionedOutput, err error) {
	text := l.output
	l.output = nil
	if text == nil {
		return out, errors.New(`no "output"`)
	}
	isGet := op == models.VersionedGet
	var ok, value, version json.RawMessage
	err = object(text, func(name string) *json.RawMessage {
		switch {
		case name == "ok":
			return &ok
		case name == "version":
			return &version
		case name == "value" && isGet:
			return &value
		}
		return nil
	})
	if err == nil {
		out.OK, err = take[bool]("ok", &ok)
	}
	if err == nil && (value != nil || isGet && out.OK) {
		out.Value, err = take[string]("value", &value)
	}
	if err == nil && (version != nil || isGet && out.OK) {
		out.Version, err = take[uint64]("version", &version)
	}
	if err != nil {
		err = fmt.Errorf("output %s: %w", text, err)
	}
	return out, err
}

func queue(name string, l *line) (any, any, error) {
	op, err := opOf(name, map[string]models.QueueOp{"push": models.QueuePush, "pop": models.QueuePop, "peek": models.QueuePeek})
	if err != nil {
		return nil, nil, err
	}
	in, out := models.QueueInput{Op: op}, models.QueueOutput{}
	if in.Name, in.Value, err = l.fields(op == models.QueuePush); err == nil && op != models.QueuePush && l.returned() {
		var found *string
		if found, err = nullable("output", &l.output); found != nil {
			out = models.QueueOutput{Value: *found, OK: true}
		}
	}
	return in, out, err
}

func set(name string, l *line) (any, any, error) {
	op, err := opOf(name, map[string]models.SetOp{"add": models.SetAdd, "remove": models.SetRemove,
		"contains": models.SetContains, "read": models.SetRead})
	if err != nil {
		return nil, nil, err
	}
	in, out := models.SetInput{Op: op}, models.SetOutput{}
	in.Name, in.Element, err = l.fields(op != models.SetRead)
	switch {
	case err != nil || !l.returned():
	case op == models.SetRead:
		out.Elements, err = takeStrings("output", &l.output)
	default:
		out.OK, err = take[bool]("output", &l.output)
	}
	return in, out, err
}

func lock(name string, l *line) (any, any, error) {
	op, err := opOf(name, map[string]models.LockOp{"acquire": models.LockAcquire, "release": models.LockRelease})
	if err != nil {
		return nil, nil, err
	}
	in, out := models.LockInput{Op: op}, models.LockOutput{}
	in.Name, _, err = l.fields(false)
	switch {
	case err != nil:
	case l.value == nil:
		in.Owner = strconv.Itoa(l.clientID)
	default:
		in.Owner, err = take[string]("value", &l.value)
	}
	if err == nil && l.returned() {
		out.OK, err = take[bool]("output", &l.output)
	}
	return in, out, err
}

func list(name string, l *line) (any, any, error) {
	op, err := opOf(name, map[string]models.ListOp{"append": models.ListAdd, "read": models.ListRead})
	if err != nil {
		return nil, nil, err
	}
	in, out := models.ListInput{Op: op}, models.ListOutput{}
	if in.Key, in.Element, err = l.fields(op == models.ListAdd); err == nil && op == models.ListRead && l.returned() {
		out.Elements, err = takeStrings("output", &l.output)
	}
	return in, out, err
}
