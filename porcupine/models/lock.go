package models

import (
	"fmt"

	"raftlab/porcupine"
)

// A LockOp is an operation of [Lock].
type LockOp uint8

// The operations of Lock.
const (
	LockAcquire LockOp = iota // takes a free lock
	LockRelease               // releases the lock of the caller
)

// LockInput is the input of an operation of [Lock].
type LockInput struct {
	Op    LockOp
	Name  string // the name of the lock
	Owner string // the caller, not empty
}

// LockOutput is the output of an operation of [Lock].
type LockOutput struct {
	OK bool // the lock was taken or released
}

// Lock is a set of named locks. Acquire answers at once and may fail. A lock is not reentrant. For
// a lock with a waiting Acquire, all completed calls are OK. Inputs are LockInput and outputs
// LockOutput.
var Lock = newLock()

func newLock() porcupine.Model {
	m := porcupine.Model{
		Init: func() any { return "" }, // the holder
		Step: func(state, input, output any) (bool, any) {
			in, out := input.(LockInput), output.(LockOutput)
			if next, ok := lockStep(state.(string), in); ok {
				return out.OK, next
			}
			return !out.OK && in.Op <= LockRelease, state
		},
		StepPending: func(state, input any) []any {
			if next, ok := lockStep(state.(string), input.(LockInput)); ok {
				return []any{next}
			}
			return nil
		},
		DescribeOperation: func(input, output any) string {
			in := input.(LockInput)
			name, known := map[LockOp]string{LockAcquire: "acquire", LockRelease: "release"}[in.Op]
			if !known {
				return unknownOp(uint8(in.Op))
			}
			return fmt.Sprintf("%s(%q, %q)%s", name, in.Name, in.Owner, answer(output, func(o LockOutput) string { return fmt.Sprint(o.OK) }))
		},
		DescribeState: func(state any) string {
			if state == "" {
				return "free"
			}
			return fmt.Sprintf("held by %q", state)
		},
	}
	m.Partition, m.PartitionEvent = byKey(func(input any) string { return input.(LockInput).Name })
	return m
}

// lockStep returns the next holder, and whether the operation takes effect.
func lockStep(holder string, in LockInput) (string, bool) {
	if in.Op == LockAcquire {
		return in.Owner, holder == ""
	}
	return "", in.Op == LockRelease && holder == in.Owner
}
