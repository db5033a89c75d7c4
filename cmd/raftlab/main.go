//go:build !wasip1

// Command raftlab runs and uses a replicated key/value store on Raft.
//
//	raftlab serve          three replicas in one process, on disk, over HTTP
//	raftlab kv put k v     use it
//	raftlab replica stop 2 break it
//	raftlab status         look at it
//	raftlab shards         which group has which shard (serve --groups)
//
// See docs/serve.md, or raftlab help.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes, of all subcommands.
const (
	exitOK          = 0
	exitNotFound    = 1  // kv: the key is not there
	exitMismatch    = 2  // kv: the key has another version
	exitUnavailable = 3  // kv, replica, status: no answer, or no leader, in time
	exitRefused     = 4  // kv, replica: the server refuses the request as it is
	exitFailure     = 70 // anything else that went wrong
	exitUsage       = 64 // the command line is wrong
)

// exitError is an error with an exit code of its own. One without a cause says
// nothing: all has been said.
type exitError struct {
	code  int
	cause error
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return ""
	}
	return e.cause.Error()
}
func (e *exitError) Unwrap() error { return e.cause }

// ExitCode is the code to end with.
func (e *exitError) ExitCode() int { return e.code }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func main() {
	os.Exit(run(context.Background(), newRootCommand(), os.Args[1:]))
}

// newRootCommand makes the command with all its subcommands.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "raftlab",
		Short:         "A replicated key/value store on Raft, and a laboratory for it",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newServeCommand())
	root.AddCommand(newKVCommand())
	root.AddCommand(newReplicaCommand())
	root.AddCommand(newStatusCommand())
	root.AddCommand(newCheckCommand())
	root.AddCommand(newShardsCommand())
	root.AddCommand(newSimCommand())
	return root
}

// run runs a command and returns its exit code. An error that says nothing of
// it comes from cobra or pflag, and so is about the command line.
func run(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitUsage
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	}
	if why := err.Error(); why != "" {
		fmt.Fprintf(root.ErrOrStderr(), "raftlab: %s\n", why)
	}
	if code == exitUsage {
		fmt.Fprintln(root.ErrOrStderr(), "raftlab help, or --help after a command, shows how it is used")
	}
	return code
}
