package models

import (
	"fmt"

	"raftlab/porcupine"
)

// A KVOp is an operation of [KV].
type KVOp uint8

// The operations of KV.
const (
	KVGet    KVOp = iota // answers the value, "" if there is none
	KVPut                // sets the value
	KVAppend             // appends to the value
)

// KVInput is the input of an operation of [KV].
type KVInput struct {
	Op    KVOp
	Key   string
	Value string // for a put or an append
}

// KVOutput is the output of an operation of [KV].
type KVOutput struct {
	Value string // for a get
}

// KV is the labs' key/value store. Inputs are KVInput and outputs KVOutput. A new key has the value
// "".
var KV = newKV()

func newKV() porcupine.Model {
	m := porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			in, value := input.(KVInput), state.(string)
			if in.Op == KVGet {
				return output.(KVOutput).Value == value, state
			}
			return in.writes(), kvWrite(value, in)
		},
		StepPending: func(state, input any) []any {
			if in := input.(KVInput); in.writes() {
				return []any{kvWrite(state.(string), in)}
			}
			return nil
		},
		DescribeOperation: func(input, output any) string {
			in := input.(KVInput)
			switch in.Op {
			case KVGet:
				return fmt.Sprintf("get(%q)%s", in.Key, answer(output, func(o KVOutput) string { return fmt.Sprintf("%q", o.Value) }))
			case KVPut:
				return fmt.Sprintf("put(%q, %q)%s", in.Key, in.Value, answer[KVOutput](output, nil))
			case KVAppend:
				return fmt.Sprintf("append(%q, %q)%s", in.Key, in.Value, answer[KVOutput](output, nil))
			}
			return unknownOp(uint8(in.Op))
		},
		DescribeState: func(state any) string { return fmt.Sprintf("%q", state) },
		Hint:          &porcupine.Hint{Initial: "", Access: kvAccess},
	}
	m.Partition, m.PartitionEvent = byKey(func(input any) string { return input.(KVInput).Key })
	return m
}

func kvAccess(input, output any) porcupine.Access {
	switch in := input.(KVInput); in.Op {
	case KVGet:
		out, _ := output.(KVOutput)
		return porcupine.Access{Kind: porcupine.AccessRead, Value: out.Value}
	case KVPut:
		return porcupine.Access{Kind: porcupine.AccessWrite, Value: in.Value}
	case KVAppend:
		return porcupine.Access{Kind: porcupine.AccessAppend, Value: in.Value}
	}
	return porcupine.Access{}
}

func (in KVInput) writes() bool { return in.Op == KVPut || in.Op == KVAppend }

func kvWrite(value string, in KVInput) string {
	if in.Op == KVPut {
		return in.Value
	}
	return value + in.Value
}

// unknownOp describes an operation with an unknown op.
func unknownOp(op uint8) string { return fmt.Sprintf("unknown op %d", op) }

// answer describes the answer of an operation, for the end of a description.
func answer[O any](output any, text func(O) string) string {
	out, ok := output.(O)
	switch {
	case !ok:
		return " pending"
	case text == nil:
		return ""
	}
	return " -> " + text(out)
}
