//go:build !wasip1

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"raftlab/internal/grade"
)

// exitGradeFailed is the exit code of raftlab grade if a test failed.
const exitGradeFailed = 1

const gradeLong = `Grade submissions of the labs. A submission is a directory, or a tar or zip file,
with the packages raft, kvraft, shardctrler and shardkv, or some of them. With
--edition 2025 the packages are kvsrv1, raft1, kvraft1, shardkv1 and those below.

  raftlab grade ~/6.5840/src
  raftlab grade table > class.yaml
  raftlab grade --table class.yaml --out grades submissions/*
  raftlab grade --table class.yaml --out grades --resume submissions/*
  raftlab grade --run '^TestFastBackup2B$' --seed 17 ~/6.5840/src

Each test runs in a process of its own, in virtual time, without network and files,
and within limits. --out writes grades.json, grades.csv, junit.xml, and for each
submission feedback.txt and results.json (Gradescope). docs/grading.md is the guide.

Exit code: 0 if every test passed, 1 if one did not, 64 if the command line or the
table is wrong, 70 if the grading failed.`

var editionHelp = "edition of the labs, " + strings.Join(grade.Editions(), " or ") + "; the default is " + grade.Editions()[0]

// gradeFlags are the flags of raftlab grade as given.
type gradeFlags struct {
	table, out, run, keep     string
	edition                   string
	seed                      uint64
	resume, json, requireJail bool
	noJail                    bool
	jobs                      int
}

// newGradeCommand makes the command raftlab grade.
func newGradeCommand() *cobra.Command {
	var f gradeFlags
	cmd := &cobra.Command{
		Use:   "grade SUBMISSION...",
		Short: "Grade submissions of the labs, a whole class at once",
		Long:  gradeLong,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := f.config(cmd)
			if err != nil {
				return gradeError(err)
			}
			ctx, stop := untilSignal(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			return orInterrupted(ctx, gradeError(f.main(ctx, cfg, args, cmd.OutOrStdout())))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.table, "table", "", "YAML file with points, secret, policy and limits (raftlab grade table makes one)")
	fl.StringVar(&f.edition, "edition", "", editionHelp+"; a table has an edition of its own")
	fl.StringVar(&f.out, "out", "", "directory for the results")
	fl.BoolVar(&f.resume, "resume", false, "continue a grading that ended early, with the results in --out")
	fl.StringVar(&f.run, "run", "", "only tests whose name matches this regular expression")
	fl.Uint64Var(&f.seed, "seed", 0, "the only seed, instead of the table's")
	fl.IntVarP(&f.jobs, "jobs", "j", 0, "processes at once; 0 is the number of CPUs")
	fl.BoolVar(&f.json, "json", false, "write the report as JSON to standard output, instead of feedback")
	fl.StringVar(&f.keep, "keep", "", "directory in which the work copies stay")
	fl.BoolVar(&f.requireJail, "require-jail", false, "refuse to grade on a machine that cannot isolate the tests in full")
	fl.BoolVar(&f.noJail, "no-jail", false, "run the tests without isolation, on a machine of their own")
	cmd.MarkFlagsMutuallyExclusive("no-jail", "require-jail")
	cmd.MarkFlagsMutuallyExclusive("table", "edition")
	cmd.AddCommand(newGradeTableCommand(), newGradeTestsCommand())
	return cmd
}

func newGradeTableCommand() *cobra.Command {
	var class, edition string
	cmd := &cobra.Command{
		Use:   "table",
		Short: "Write a table of points to edit, with a new secret",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := grade.NewTableFile(class, edition)
			if err != nil {
				return gradeError(err)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&class, "class", "", "name of the class")
	cmd.Flags().StringVar(&edition, "edition", "", editionHelp)
	return cmd
}

func newGradeTestsCommand() *cobra.Command {
	var edition string
	cmd := &cobra.Command{
		Use:   "tests",
		Short: "List the tests of the suites, with the reason for each, in Markdown",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return gradeError(grade.WriteTests(cmd.OutOrStdout(), edition))
		},
	}
	cmd.Flags().StringVar(&edition, "edition", "", editionHelp)
	return cmd
}

// gradeError gives an error of package grade its exit code.
func gradeError(err error) error {
	var coded *exitError
	switch {
	case err == nil || errors.As(err, &coded):
		return err
	case errors.Is(err, grade.ErrTable) || errors.Is(err, grade.ErrConfig) || errors.Is(err, grade.ErrJournal):
		return &exitError{exitUsage, err}
	}
	return &exitError{exitFailure, err}
}

func (f *gradeFlags) config(cmd *cobra.Command) (grade.Config, error) {
	cfg := grade.Config{Out: f.out, Resume: f.resume, Jobs: f.jobs, Keep: f.keep, RequireJail: f.requireJail, NoJail: f.noJail, Log: cmd.ErrOrStderr()}
	var err error
	if f.table != "" {
		cfg.Table, err = grade.LoadTable(f.table)
	} else {
		cfg.Table, err = grade.DefaultTable(f.edition)
	}
	if err != nil {
		return cfg, err
	}
	if f.resume && f.out == "" {
		return cfg, usageError("--resume goes with --out")
	}
	if f.jobs < 0 {
		return cfg, usageError("--jobs %d is below 0", f.jobs)
	}
	if f.run != "" {
		if cfg.Run, err = regexp.Compile(f.run); err != nil {
			return cfg, usageError("--run: %v", err)
		}
	}
	if cmd.Flags().Changed("seed") {
		cfg.Seed = &f.seed
	}
	return cfg, nil
}

func (f *gradeFlags) main(ctx context.Context, cfg grade.Config, args []string, out io.Writer) error {
	report, err := grade.Run(ctx, cfg, args)
	if err != nil {
		return err
	}
	if f.out != "" {
		if err := report.Write(f.out); err != nil {
			return err
		}
	}
	switch {
	case f.json:
		err = report.JSON(out)
	case len(args) == 1:
		report.Graded()[0].Feedback(out)
	}
	if err != nil {
		return err
	}
	if f.out != "" {
		fmt.Fprintf(cfg.Log, "the results are in %s\n", f.out)
	}
	if !report.Passed() {
		return &exitError{exitGradeFailed, nil}
	}
	return nil
}
