package sim
import "context"
func newWasmProgram(ctx context.Context, base program, cache string) (Program, error) { return nil, ErrUnsupported }
