//go:build !wasip1

// Command raftlab runs and uses a replicated key/value store on Raft.
//
//	raftlab serve          three replicas in one process, on disk, over HTTP
//	raftlab kv put k v     use it
//	raftlab replica stop 2 break it
//	raftlab status         look at it
//	raftlab shards         which group has which shard (serve --groups)
//	raftlab member         the processes of a store with groups
//	raftlab check h.jsonl  check a recorded history for linearizability
//	raftlab play           step through Raft in a browser
//	raftlab sim ./raft     run Go tests in virtual time, each seed a repeatable world
//	raftlab trace FILE     a page of a recorded run
//	raftlab grade DIR      grade submissions of the labs
//	raftlab cert           certificates for a test cluster
//	raftlab backup FILE    the state of a cluster of processes in a file
//	raftlab restore FILE   a new cluster from a backup
//	raftlab recover        a new cluster from the survivor of a lost majority
//	raftlab inspect DIR    what a member's data directory holds
//	raftlab verify DIR     whether all of it is whole
//	raftlab version        the version and the build
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

// Exit codes of all subcommands. A command ended by a signal exits with 128 and the
// signal's number.
const (
	exitOK          = 0
	exitNotFound    = 1  // kv: the store does not hold the key
	exitMismatch    = 2  // kv: the key has another version
	exitUnavailable = 3  // kv, replica, status, shards, member: no answer, or no leader, in time
	exitRefused     = 4  // kv, replica, shards, member: the server refuses the request
	exitDamaged     = 5  // backup, restore, recover, inspect, verify: the data is damaged
	exitUsage       = 64 // the command line is wrong
	exitFailure     = 70 // any other failure
)

// exitError is an error with an exit code. An error without a cause prints
// nothing, because the command has printed all there is to say.
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

// ExitCode returns the code to end with.
func (e *exitError) ExitCode() int { return e.code }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func main() {
	os.Exit(run(context.Background(), newRootCommand(), os.Args[1:]))
}

// newRootCommand makes the command raftlab.
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
	root.AddCommand(newShardsCommand(), newMemberCommand())
	root.AddCommand(newPlayCommand())
	root.AddCommand(newSimCommand(), newSimEnvCommand(), newSimExecCommand())
	root.AddCommand(newTraceCommand())
	root.AddCommand(newCertCommand())
	root.AddCommand(newBackupCommand(), newRestoreCommand(), newRecoverMemberCommand())
	root.AddCommand(newInspectCommand(), newVerifyCommand())
	root.AddCommand(newGradeCommand())
	root.AddCommand(newCourseCommand())
	root.AddCommand(newVersionCommand())
	root.Version = readBuildInfo().String()
	root.SetVersionTemplate("{{.Version}}\n")
	completeFlags(root)
	return root
}

// run runs a command and returns its exit code. An error without an exit code
// comes from cobra or pflag and concerns the command line.
func run(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
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
		if !cmd.HasSubCommands() {
			fmt.Fprintf(root.ErrOrStderr(), "usage: %s\n", cmd.UseLine())
		}
		fmt.Fprintf(root.ErrOrStderr(), "%s --help shows more\n", cmd.CommandPath())
	}
	return code
}
