package history

import (
	"encoding/json"
	"fmt"
	"strconv"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
)

// format is how the operations of a model are written.
type format struct {
	model     porcupine.Model
	operation func(l *line) (input, output any, err error)
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

// decode reads a field into one of type T. A field that is left out, or null, is the zero T.
func decode[T any](name string, raw json.RawMessage) (value T, err error) {
	if len(raw) == 0 {
		return value, nil
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		return value, fmt.Errorf("%s %s: want %T", name, raw, value)
	}
	return value, nil
}

// opOf finds an operation among those that a model has.
func opOf[O any](l *line, ops map[string]O) (O, error) {
	op, ok := ops[l.Op]
	if !ok {
		return op, fmt.Errorf("the model has no op %q", l.Op)
	}
	return op, nil
}

// text reads the op and the value, which is a string, of a line.
func text[O any](l *line, ops map[string]O) (op O, value string, err error) {
	if op, err = opOf(l, ops); err == nil {
		value, err = decode[string]("value", l.Value)
	}
	return op, value, err
}

func kv(l *line) (any, any, error) {
	op, value, err := text(l, map[string]models.KVOp{"get": models.KVGet, "put": models.KVPut, "append": models.KVAppend})
	if err != nil {
		return nil, nil, err
	}
	out := models.KVOutput{}
	if op == models.KVGet {
		out.Value, err = decode[string]("output", l.Output)
	}
	return models.KVInput{Op: op, Key: l.Key, Value: value}, out, err
}

// keyedInput is the input of one of several registers.
type keyedInput struct {
	key   string
	input models.RegisterInput
}

// keyed makes a model of one register one of many.
func keyed(m porcupine.Model) porcupine.Model {
	of := func(input any) any { return input.(keyedInput).input }
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
	many.Step = func(state, input, output any) (bool, any) { return m.Step(state, of(input), output) }
	many.StepPending = func(state, input any) []any { return m.StepPending(state, of(input)) }
	many.Hint = &porcupine.Hint{Initial: m.Hint.Initial, Access: func(input, output any) porcupine.Access {
		return m.Hint.Access(of(input), output)
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

func register(swaps bool) func(l *line) (any, any, error) {
	ops := map[string]models.RegisterOp{"read": models.RegisterRead, "write": models.RegisterWrite}
	if swaps {
		ops["cas"] = models.RegisterCAS
	}
	return func(l *line) (any, any, error) {
		op, err := opOf(l, ops)
		if err != nil {
			return nil, nil, err
		}
		in, out := models.RegisterInput{Op: op}, models.RegisterOutput{}
		if in.Value, err = scalar("value", l.Value); err != nil {
			return nil, nil, err
		}
		if in.Expect, err = scalar("expect", l.Expect); err != nil {
			return nil, nil, err
		}
		switch op {
		case models.RegisterRead:
			out.Value, err = scalar("output", l.Output)
		case models.RegisterCAS:
			out.OK, err = decode[bool]("output", l.Output)
		}
		return keyedInput{l.Key, in}, out, err
	}
}

// scalar reads a value that can be compared. Numbers keep the form that they are written in.
func scalar(name string, raw json.RawMessage) (any, error) {
	if len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		return json.Number(raw), nil
	}
	value, err := decode[any](name, raw)
	switch value.(type) {
	case nil, string, bool:
		return value, err
	}
	return nil, fmt.Errorf("%s %s: want a string, a number, true, false or null", name, raw)
}

func versioned(scans bool) func(l *line) (any, any, error) {
	ops := map[string]models.VersionedOp{"get": models.VersionedGet, "put": models.VersionedPut, "append": models.VersionedAppend,
		"delete": models.VersionedDelete, "cas": models.VersionedCAS}
	if scans {
		ops["scan"] = models.VersionedScan
	}
	return func(l *line) (any, any, error) {
		op, value, err := text(l, ops)
		if err != nil {
			return nil, nil, err
		}
		out, err := versionedOutput(op, l)
		return models.VersionedInput{Op: op, Key: l.Key, Value: value, Version: l.Version}, out, err
	}
}

func versionedOutput(op models.VersionedOp, l *line) (out models.VersionedOutput, err error) {
	switch op {
	case models.VersionedPut, models.VersionedAppend:
		out.Version, err = decode[uint64]("output", l.Output)
	case models.VersionedDelete:
		out.OK, err = decode[bool]("output", l.Output)
	case models.VersionedScan:
		out.Scan, err = decode[map[string]string]("output", l.Output)
	default:
		var fields struct {
			Value   string `json:"value"`
			Version uint64 `json:"version"`
			OK      bool   `json:"ok"`
		}
		if len(l.Output) > 0 {
			if err = json.Unmarshal(l.Output, &fields); err != nil {
				err = fmt.Errorf(`output %s: want {"value": ..., "version": ..., "ok": ...}`, l.Output)
			}
		}
		out = models.VersionedOutput{Value: fields.Value, Version: fields.Version, OK: fields.OK}
	}
	return out, err
}

func queue(l *line) (any, any, error) {
	op, value, err := text(l, map[string]models.QueueOp{"push": models.QueuePush, "pop": models.QueuePop, "peek": models.QueuePeek})
	if err != nil {
		return nil, nil, err
	}
	out := models.QueueOutput{}
	if op != models.QueuePush {
		var found *string
		if found, err = decode[*string]("output", l.Output); found != nil {
			out = models.QueueOutput{Value: *found, OK: true}
		}
	}
	return models.QueueInput{Op: op, Name: l.Key, Value: value}, out, err
}

func set(l *line) (any, any, error) {
	op, value, err := text(l, map[string]models.SetOp{"add": models.SetAdd, "remove": models.SetRemove,
		"contains": models.SetContains, "read": models.SetRead})
	if err != nil {
		return nil, nil, err
	}
	out := models.SetOutput{}
	if op == models.SetRead {
		out.Elements, err = decode[[]string]("output", l.Output)
	} else {
		out.OK, err = decode[bool]("output", l.Output)
	}
	return models.SetInput{Op: op, Name: l.Key, Element: value}, out, err
}

func lock(l *line) (any, any, error) {
	op, owner, err := text(l, map[string]models.LockOp{"acquire": models.LockAcquire, "release": models.LockRelease})
	if err != nil {
		return nil, nil, err
	}
	if owner == "" {
		owner = strconv.Itoa(l.Client)
	}
	ok, err := decode[bool]("output", l.Output)
	return models.LockInput{Op: op, Name: l.Key, Owner: owner}, models.LockOutput{OK: ok}, err
}

func list(l *line) (any, any, error) {
	op, value, err := text(l, map[string]models.ListOp{"append": models.ListAdd, "read": models.ListRead})
	if err != nil {
		return nil, nil, err
	}
	out := models.ListOutput{}
	if op == models.ListRead {
		out.Elements, err = decode[[]string]("output", l.Output)
	}
	return models.ListInput{Op: op, Key: l.Key, Element: value}, out, err
}
