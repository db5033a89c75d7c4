package kv

import (
	"context"
	"fmt"
)

// Must executes an operation through do, for the labs' clerks, whose methods return
// no errors. do retries for ever. Must panics if do returns an error or a Code other
// than OK and NotFound. The names of the clerk's package and of the operation stand
// in the panic.
func Must(pkg string, do func(context.Context, Op) (Result, error), op Op) Result {
	result, err := do(context.Background(), op)
	if err == nil && result.Code != OK && result.Code != NotFound {
		err = fmt.Errorf("%v", result.Code)
	}
	if err != nil {
		panic(fmt.Sprintf("%s: %v of %q: %v", pkg, op.Kind, op.Key, err))
	}
	return result
}
