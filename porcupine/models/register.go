package models

import (
	"fmt"

	"raftlab/porcupine"
)

// A RegisterOp is an operation of [Register] or [CASRegister].
type RegisterOp uint8

// The operations of Register and CASRegister.
const (
	RegisterRead  RegisterOp = iota // answers the value
	RegisterWrite                   // sets the value
	RegisterCAS                     // sets the value if the expectation is right (CASRegister only)
)

// RegisterInput is the input of an operation of [Register] or [CASRegister]. == must be able to
// compare the values. The initial value is nil.
type RegisterInput struct {
	Op     RegisterOp
	Value  any // for a write or a compare-and-swap
	Expect any // for a compare-and-swap
}

// RegisterOutput is the output of an operation of [Register] or [CASRegister].
type RegisterOutput struct {
	Value any  // for a read
	OK    bool // for a compare-and-swap, whether it took effect
}

// Register is a single value with read and write. Inputs are RegisterInput and outputs
// RegisterOutput.
var Register = newRegister(RegisterWrite)

// CASRegister is [Register] with compare-and-swap.
var CASRegister = newRegister(RegisterCAS)

// newRegister returns the model with the operations up to last.
func newRegister(last RegisterOp) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return nil },
		Step: func(state, input, output any) (bool, any) {
			in, out := input.(RegisterInput), output.(RegisterOutput)
			switch {
			case in.Op > last:
				return false, state
			case in.Op == RegisterRead:
				return out.Value == state, state
			case in.Op == RegisterWrite:
				return true, in.Value
			case in.Expect == state:
				return out.OK, in.Value
			}
			return !out.OK, state
		},
		StepPending: func(state, input any) []any {
			in := input.(RegisterInput)
			if in.Op == RegisterWrite || in.Op == RegisterCAS && last == RegisterCAS && in.Expect == state {
				return []any{in.Value}
			}
			return nil
		},
		DescribeOperation: func(input, output any) string {
			in := input.(RegisterInput)
			switch in.Op {
			case RegisterRead:
				return "read()" + answer(output, func(o RegisterOutput) string { return fmt.Sprint(o.Value) })
			case RegisterWrite:
				return fmt.Sprintf("write(%v)", in.Value) + answer[RegisterOutput](output, nil)
			case RegisterCAS:
				return fmt.Sprintf("cas(%v, %v)", in.Expect, in.Value) + answer(output, func(o RegisterOutput) string { return fmt.Sprint(o.OK) })
			}
			return unknownOp(uint8(in.Op))
		},
		Hint: &porcupine.Hint{Initial: nil, Access: func(input, output any) porcupine.Access {
			if input.(RegisterInput).Op > last {
				return porcupine.Access{}
			}
			return registerAccess(input, output)
		}},
	}
}

func registerAccess(input, output any) porcupine.Access {
	in := input.(RegisterInput)
	out, completed := output.(RegisterOutput)
	switch {
	case in.Op == RegisterRead:
		return porcupine.Access{Kind: porcupine.AccessRead, Value: out.Value}
	case in.Op == RegisterWrite:
		return porcupine.Access{Kind: porcupine.AccessWrite, Value: in.Value}
	case completed && !out.OK:
		return porcupine.Access{Kind: porcupine.AccessDiffer, Expect: in.Expect}
	}
	return porcupine.Access{Kind: porcupine.AccessSwap, Value: in.Value, Expect: in.Expect}
}
