//go:build !wasip1

package main

import (
	"strings"

	"github.com/spf13/cobra"

	"raftlab/porcupine/history"
)

// newCheckCommand returns the command that checks a recorded history.
func newCheckCommand() *cobra.Command {
	var job history.Job
	command := &cobra.Command{
		Use:   "check [--model kv] history.jsonl [--html out.html]",
		Short: "Check a recorded history for linearizability",
		Long: `Check a recorded history for linearizability. Each line is one operation in JSON:

  {"client": 1, "op": "put", "key": "x", "value": "a", "call": 10, "return": 25}
  {"client": 2, "op": "get", "key": "x", "output": "a", "call": 12, "return": 30}

An operation without a return never returned. The file name - means standard input.
"go doc raftlab/porcupine/history" describes the fields of each model. The models are
` + strings.Join(history.Names(), ", ") + `.

The exit code is 0 for a linearizable history and 1 for any other. The code is 2 if the
time or the memory did not suffice, or if the input is bad.`,
		Args:          cobra.ExactArgs(1),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(command *cobra.Command, args []string) error {
			job.Path = args[0]
			job.In, job.Out, job.Err = command.InOrStdin(), command.OutOrStdout(), command.ErrOrStderr()
			code, err := history.Run(command.Context(), job)
			if code == history.CodeLegal {
				return nil
			}
			return &exitError{code: code, cause: err}
		},
	}
	flags := command.Flags()
	flags.StringVar(&job.Model, "model", "kv", "model of the history: "+strings.Join(history.Names(), ", "))
	flags.StringVar(&job.HTML, "html", "", "write a picture of the history to this file")
	flags.DurationVar(&job.Timeout, "timeout", 0, "give up after this time, such as 30s (default: never)")
	flags.Int64Var(&job.Memory, "memory", 0, "give up when the check needs more than this many bytes (default: 2 GiB)")
	flags.BoolVar(&job.Quiet, "quiet", false, "do not report progress")
	models := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return history.Names(), cobra.ShellCompDirectiveNoFileComp
	}
	if err := command.RegisterFlagCompletionFunc("model", models); err != nil {
		panic(err) // the flag is defined above
	}
	return command
}
