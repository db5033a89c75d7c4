//go:build !wasip1

package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"raftlab/internal/labtrace"
	"raftlab/trace"
)

// newTraceCommand makes the command raftlab trace.
func newTraceCommand() *cobra.Command {
	var out string
	var shiviz bool
	cmd := &cobra.Command{
		Use:   "trace FILE [--out page.html] [--shiviz]",
		Short: "Make a page of a recorded run",
		Long: `Make a page of a recorded run: what broke, a space-time diagram, the state of each
server. The page is one HTML file and needs no network. A file of a recording comes from
RAFTLAB_TRACE_STREAM=FILE in a test, or from package trace. The file name - means standard
input.

With --shiviz, the output is the format of ShiViz, for the pattern

  ` + trace.ShiVizPattern,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := readRun(cmd.InOrStdin(), args[0])
			if err != nil {
				return &exitError{exitFailure, err}
			}
			if out == "" && !shiviz && args[0] != "-" {
				out = strings.TrimSuffix(args[0], ".jsonl") + ".html"
			}
			if err := writeRun(cmd.OutOrStdout(), out, run, shiviz); err != nil {
				return &exitError{exitFailure, err}
			}
			if out != "" {
				fmt.Fprintln(cmd.OutOrStdout(), out)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "file for the page (default: FILE with the ending .html)")
	cmd.Flags().BoolVar(&shiviz, "shiviz", false, "write the format of ShiViz, to standard output without --out")
	return cmd
}

// readRun reads a recording, with the messages in words.
func readRun(stdin io.Reader, path string) (*trace.Recording, error) {
	var run *trace.Recording
	var err error
	if path == "-" {
		run, err = trace.Read(stdin)
	} else {
		run, err = trace.ReadFile(path)
	}
	if err == nil {
		labtrace.Describe(run)
	}
	return run, err
}

// writeRun writes a page or the format of ShiViz to a file, or to standard output.
func writeRun(stdout io.Writer, path string, run *trace.Recording, shiviz bool) error {
	write := trace.WritePage
	if shiviz {
		write = trace.WriteShiViz
	}
	if path == "" {
		return write(stdout, run)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f, run); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
