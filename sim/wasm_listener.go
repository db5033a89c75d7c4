package sim

import (
	"context"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// factory makes every function report an interruption.
func (f *frames) factory() experimental.FunctionListenerFactory {
	return experimental.FunctionListenerFactoryFunc(func(api.FunctionDefinition) experimental.FunctionListener {
		return abortListener{f}
	})
}

// abortListener collects the frames of a run that ended in the middle, the
// innermost first.
type abortListener struct{ frames *frames }

func (abortListener) Before(context.Context, api.Module, api.FunctionDefinition, []uint64, experimental.StackIterator) {
}

func (abortListener) After(context.Context, api.Module, api.FunctionDefinition, []uint64) {}

func (l abortListener) Abort(_ context.Context, _ api.Module, def api.FunctionDefinition, _ error) {
	l.frames.names = append(l.frames.names, def.Name())
}
