//go:build !wasip1

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"raftlab/internal/course"
	"raftlab/internal/grade"
)

const courseLong = `Make and run a course from the labs. docs/course.md is the guide.

  raftlab course init --class "6.5840 spring" --roster students.csv course
  raftlab course init --class "6.5840 spring" --edition 2025 course
  raftlab course handout course late-student
  raftlab course autograder course
  raftlab course check course submissions/*`

// newCourseCommand makes the command raftlab course.
func newCourseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "course",
		Short: "Make a course from the labs, and find copied submissions",
		Long:  courseLong,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCourseInitCommand(), newCourseHandoutCommand(), newCourseAutograderCommand(), newCourseCheckCommand())
	return cmd
}

func newCourseInitCommand() *cobra.Command {
	var opt course.Options
	var roster, hold string
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Write a handout, lab texts, and the instructor's part into an empty directory",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if roster != "" {
				if opt.Students, err = course.ReadRoster(roster); err != nil {
					return courseError(err)
				}
			}
			if hold != "" {
				if opt.HoldBack, err = regexp.Compile(hold); err != nil {
					return usageError("--hold-back: %v", err)
				}
			}
			if err := course.Init(args[0], opt); err != nil {
				return courseError(err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "the course is in %s; begin with %s/instructor/README.md\n", args[0], args[0])
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&opt.Class, "class", "", "name of the class")
	fl.StringVar(&opt.Edition, "edition", "", editionHelp)
	fl.StringVar(&opt.Module, "module", "", `path of the handout's Go module (default "labs")`)
	fl.StringSliceVar(&opt.Parts, "parts", nil, "parts of the labs, such as 2A,2B; all without the flag")
	fl.StringVar(&roster, "roster", "", "file with the id of a student at the begin of each line; each student gets a handout with marks")
	fl.StringVar(&hold, "hold-back", "", "regular expression of tests that the handout lacks and the grader has")
	return cmd
}

func newCourseHandoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "handout DIR STUDENT...",
		Short: "Write the handouts of further students, or write handouts again",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return courseError(course.Add(args[0], args[1:]))
		},
	}
}

func newCourseAutograderCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "autograder DIR",
		Short: "Write the archive of an autograder for Gradescope",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := course.Autograder(args[0])
			if err != nil {
				return courseError(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), name)
			return err
		},
	}
}

func newCourseCheckCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check DIR SUBMISSION...",
		Short: "Compare submissions with the handouts of all students, and with each other",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := course.Check(args[0], args[1:])
			if err != nil {
				return courseError(err)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(found)
			}
			found.Write(cmd.OutOrStdout())
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// courseError gives an error of package course its exit code.
func courseError(err error) error {
	var coded *exitError
	switch {
	case err == nil || errors.As(err, &coded):
		return err
	case errors.Is(err, course.ErrCourse) || errors.Is(err, grade.ErrTable):
		return &exitError{exitUsage, err}
	}
	return &exitError{exitFailure, err}
}
