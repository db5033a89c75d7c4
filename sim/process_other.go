//go:build !linux

package sim

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
)

type process struct{}

type result struct {
	end    ending
	output []byte
}

func (p *nativeProgram) start(context.Context, Case, []string) (*process, error) {
	return nil, fmt.Errorf("%w: the native engine runs on linux/amd64, not %s/%s", ErrUnsupported, runtime.GOOS, runtime.GOARCH)
}

func (*process) wait(context.Context, Limits) (result, error) { return result{}, ErrUnsupported }

func (result) outcome(*regexp.Regexp) Outcome { return Outcome{} }
