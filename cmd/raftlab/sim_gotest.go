//go:build !wasip1

package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"raftlab/sim"
)

// simFlagsEnv holds the flags of sim-env for sim-exec, as a JSON array.
const simFlagsEnv = "RAFTLAB_SIM_FLAGS"

const simEnvLong = `Run a command in an environment in which go test runs each test in simulated
worlds, as raftlab sim does. The command takes the flags of raftlab sim, and all of
go test's choices of packages and tests hold.

  raftlab sim-env --seeds 1..50 go test ./...
  raftlab sim-env --sleeps 0.01 --save bugs go test -run Election -v ./raft
  eval "$(raftlab sim-env --seeds 1..50)"   # for the rest of this shell

The environment sets GOFLAGS: an overlay of the Go tree, build tags, and -exec with
raftlab sim-exec. It needs the native engine.`

// newSimEnvCommand makes the command raftlab sim-env.
func newSimEnvCommand() *cobra.Command {
	cmd, f := simCommand()
	cmd.Use = "sim-env [flags] [command]"
	cmd.Short = "Run go test with each test in simulated worlds"
	cmd.Long = simEnvLong
	cmd.Flags().SetInterspersed(false)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		args, err := adoptGoTest(cmd.Flags(), args)
		if err != nil {
			return err
		}
		if err := f.check(nil); err != nil {
			return err
		}
		if f.engine == sim.WASM || len(f.replay)+len(f.merge)+len(f.preempt) > 0 || f.shard != "" {
			return usageError("sim-env has no wasm engine, --preempt, --replay, --merge or --shard: use raftlab sim")
		}
		script, err := simExecScript()
		if err != nil {
			return err
		}
		env, err := sim.GoTestEnv(cmd.Context(), sim.Options{Race: f.race, Tags: f.tags}, script)
		if err != nil {
			return simError(err)
		}
		flags, err := json.Marshal(givenFlags(cmd.Flags()))
		if err != nil {
			return err
		}
		env = append(env, simFlagsEnv+"="+string(flags))
		if len(args) == 0 {
			for _, kv := range env {
				key, value, _ := strings.Cut(kv, "=")
				fmt.Fprintf(cmd.OutOrStdout(), "export %s='%s'\n", key, strings.ReplaceAll(value, "'", `'\''`))
			}
			return nil
		}
		child := exec.CommandContext(cmd.Context(), args[0], args[1:]...)
		child.Env = append(os.Environ(), env...)
		child.Stdin, child.Stdout, child.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
		err = child.Run()
		if child.ProcessState != nil && child.ProcessState.ExitCode() > 0 {
			return &exitError{child.ProcessState.ExitCode(), fmt.Errorf("%s: %w", args[0], err)}
		}
		return err
	}
	return cmd
}

// adoptGoTest makes flags of sim-env from the flags -race and -tags of go test, because the
// environment depends on them. The result is the command without the tags.
func adoptGoTest(fl *pflag.FlagSet, args []string) ([]string, error) {
	if len(args) < 2 || filepath.Base(args[0]) != "go" || args[1] != "test" {
		return args, nil
	}
	rest := args[:2:2]
	for i := 2; i < len(args); i++ {
		name, value, joined := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		switch {
		case args[i] == "-args" || args[i] == "--args":
			return append(rest, args[i:]...), nil
		case !strings.HasPrefix(args[i], "-") || name != "race" && name != "tags":
			rest = append(rest, args[i])
			continue
		case name == "race":
			rest = append(rest, args[i])
			if !joined {
				value = "true"
			}
		case !joined:
			if i++; i == len(args) {
				return nil, usageError("-tags of go test needs a value")
			}
			value = args[i]
		}
		if err := fl.Set(name, value); err != nil {
			return nil, usageError("go test: -%s: %w", name, err)
		}
	}
	return rest, nil
}

// givenFlags returns the flags of a command line, one argument for each.
func givenFlags(fl *pflag.FlagSet) []string {
	given := []string{}
	fl.Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "stringArray" {
			values, _ := fl.GetStringArray(f.Name)
			for _, v := range values {
				given = append(given, "--"+f.Name+"="+v)
			}
			return
		}
		given = append(given, "--"+f.Name+"="+f.Value.String())
	})
	return given
}

// simExecScript writes a script that runs raftlab sim-exec, because an entry of
// GOFLAGS cannot have a space. The name follows from the content, so the scripts of
// two versions of raftlab do not meet.
func simExecScript() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	text := "#!/bin/sh\nexec '" + strings.ReplaceAll(self, "'", `'\''`) + "' sim-exec \"$@\"\n"
	path := filepath.Join(cache, "raftlab", fmt.Sprintf("sim-exec-%x", sha256.Sum256([]byte(text)))[:len("sim-exec-")+16])
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	next, err := os.CreateTemp(filepath.Dir(path), "new-sim-exec-")
	if err != nil {
		return "", err
	}
	_, err = next.WriteString(text)
	if closed := next.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Chmod(next.Name(), 0o755)
	}
	if err == nil {
		err = os.Rename(next.Name(), path) // another process may write the script at once
	}
	return path, err
}

// newSimExecCommand makes the command raftlab sim-exec, for go test -exec.
func newSimExecCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "sim-exec binary [arguments of go test]",
		Short:              "Run a test binary in simulated worlds, for go test -exec under raftlab sim-env",
		Args:               cobra.MinimumNArgs(1),
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags, rest, err := simExecFlags(args[1:])
			if err != nil {
				return err
			}
			inner, f := simCommand()
			f.binary = args[0]
			inner.SetArgs(append(append(flags, "--"), rest...))
			// go test shows the report and the table where it shows the output of tests.
			inner.SetOut(cmd.OutOrStdout())
			inner.SetErr(cmd.OutOrStdout())
			inner.SilenceErrors, inner.SilenceUsage = true, true
			err = inner.ExecuteContext(cmd.Context())
			if errors.Is(err, sim.ErrNoTest) {
				fmt.Fprintln(cmd.OutOrStdout(), "testing: warning: no tests to run")
				err = nil
			}
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), "PASS")
			}
			return err
		},
	}
}

// simExecFlags makes flags of raftlab sim from those of sim-env and of go test.
// The other arguments are for the test binary.
func simExecFlags(args []string) (flags, rest []string, err error) {
	text, ok := os.LookupEnv(simFlagsEnv)
	if !ok {
		return nil, nil, usageError("sim-exec needs binaries that were built under raftlab sim-env, as in: raftlab sim-env --seeds 1..50 go test ./...")
	}
	if err := json.Unmarshal([]byte(text), &flags); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", simFlagsEnv, err)
	}
	for i, arg := range args {
		name, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case !strings.HasPrefix(name, "test."):
			return flags, append(rest, args[i:]...), nil // behind -args
		case name == "test.run":
			flags = append(flags, "--run="+value)
		case name == "test.v":
			flags = append(flags, "--verbose")
		case name == "test.timeout", name == "test.count", name == "test.paniconexit0", name == "test.testlogfile", name == "test.parallel":
			// A world has limits of its own, and one test in it.
		case name == "test.list", name == "test.bench", strings.HasPrefix(name, "test.fuzz"), strings.HasSuffix(name, "profile"), name == "test.trace", name == "test.outputdir":
			return nil, nil, usageError("go test's -%s has no meaning in simulated worlds", strings.TrimPrefix(name, "test."))
		default:
			rest = append(rest, arg)
		}
	}
	return flags, rest, nil
}
