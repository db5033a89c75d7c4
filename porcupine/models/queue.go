package models

import (
	"fmt"
	"hash/maphash"
	"slices"

	"raftlab/porcupine"
)

// A QueueOp is an operation of [Queue].
type QueueOp uint8

// The operations of Queue.
const (
	QueuePush QueueOp = iota // adds a value at the end
	QueuePop                 // removes and answers the first value
	QueuePeek                // answers the first value
)

// QueueInput is the input of an operation of [Queue].
type QueueInput struct {
	Op    QueueOp
	Name  string // the name of the queue
	Value string // for a push
}

// QueueOutput is the output of an operation of [Queue].
type QueueOutput struct {
	Value string // for a pop or peek
	OK    bool   // for a pop or peek, whether the queue had a value
}

// Queue is a set of named first-in first-out queues without bound. Each queue starts empty. Inputs
// are QueueInput and outputs QueueOutput.
var Queue = newQueue()

func newQueue() porcupine.Model {
	m := listModel()
	m.Step = func(state, input, output any) (bool, any) {
		list, in, out := state.([]string), input.(QueueInput), output.(QueueOutput)
		switch {
		case in.Op == QueuePush:
			return true, appended(list, in.Value)
		case in.Op > QueuePeek:
			return false, list
		case len(list) == 0:
			return !out.OK, list
		case !out.OK || out.Value != list[0]:
			return false, list
		case in.Op == QueuePop:
			return true, list[1:]
		}
		return true, list
	}
	m.StepPending = func(state, input any) []any {
		list, in := state.([]string), input.(QueueInput)
		switch {
		case in.Op == QueuePush:
			return []any{appended(list, in.Value)}
		case in.Op == QueuePop && len(list) > 0:
			return []any{list[1:]}
		}
		return nil
	}
	m.DescribeOperation = func(input, output any) string {
		in := input.(QueueInput)
		if in.Op == QueuePush {
			return fmt.Sprintf("push(%q, %q)%s", in.Name, in.Value, answer[QueueOutput](output, nil))
		}
		name, known := map[QueueOp]string{QueuePop: "pop", QueuePeek: "peek"}[in.Op]
		if !known {
			return unknownOp(uint8(in.Op))
		}
		return fmt.Sprintf("%s(%q)%s", name, in.Name, answer(output, func(o QueueOutput) string {
			if !o.OK {
				return "empty"
			}
			return fmt.Sprintf("%q", o.Value)
		}))
	}
	m.Partition, m.PartitionEvent = byKey(func(input any) string { return input.(QueueInput).Name })
	return m
}

// listModel returns the common part of all models with states of type []string.
func listModel() porcupine.Model {
	seed := maphash.MakeSeed()
	return porcupine.Model{
		Init:  func() any { return []string(nil) },
		Equal: func(a, b any) bool { return slices.Equal(a.([]string), b.([]string)) },
		Hash: func(state any) uint64 {
			var h maphash.Hash
			h.SetSeed(seed)
			for _, s := range state.([]string) {
				h.WriteString(s)
				h.WriteByte(0)
			}
			return h.Sum64()
		},
		DescribeState: func(state any) string { return fmt.Sprintf("%q", state) },
	}
}

// appended returns a copy of the list with one more value.
func appended(list []string, value string) []string {
	return append(slices.Clip(list), value)
}
