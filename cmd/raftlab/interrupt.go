//go:build !wasip1

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// interrupted is the cause of a context ended by a signal.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return fmt.Sprintf("interrupted (%v)", i.signal) }

// ExitCode returns the code of shells for a program ended by a signal.
func (i interrupted) ExitCode() int { return 128 + int(i.signal) }

// untilSignal returns a context until the first of some signals. A second signal ends
// the process at once, except for SIGPIPE, which each write to a closed pipe sends
// again. The function stop returns the signals to their default.
func untilSignal(parent context.Context, signals ...os.Signal) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	got := make(chan os.Signal, 1)
	signal.Notify(got, signals...)
	go func() { // ends with ctx
		select {
		case s := <-got:
			// The reset comes first. Otherwise a second signal right behind the message
			// about the first one would have no effect.
			for _, s := range signals {
				if s != syscall.SIGPIPE {
					signal.Reset(s)
				}
			}
			number, _ := s.(syscall.Signal)
			cancel(interrupted{number})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); signal.Stop(got) }
}

// orInterrupted gives the error of an interrupted command the exit code of the signal.
func orInterrupted(ctx context.Context, err error) error {
	var by interrupted
	if err == nil || !errors.As(context.Cause(ctx), &by) || by.signal == syscall.SIGPIPE {
		return err
	}
	return &exitError{by.ExitCode(), err}
}
