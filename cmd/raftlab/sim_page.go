//go:build !wasip1

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"raftlab/internal/labrun"
	"raftlab/internal/labtrace"
	"raftlab/sim"
	"raftlab/trace"
)

// page writes the page of a shrunk failure beside its other files. A test without a
// recorded network has no page. The wasm engine makes none, because a run there has no
// file for the events.
func (r *simReport) page(res sim.Result, c sim.Case) error {
	if r.flags.save == "" || res.Engine != sim.Native {
		return nil
	}
	run, _, err := recordCase(r, res, c)
	if err != nil || run == nil {
		return err
	}
	run.Test, run.Repeat = res.Test, res.Command
	name := r.fileName(res, ".html")
	if err := trace.WritePageFile(name, run); err != nil {
		return err
	}
	fmt.Fprintf(r.errOut, "         what happened: %s\n", name)
	return nil
}

// recordCase runs a case once more with a stream of events. The world is the same as
// without. recordCase returns nil if the test has no recorded network.
func recordCase(r *simReport, res sim.Result, c sim.Case) (*trace.Recording, []byte, error) {
	dir, err := os.MkdirTemp("", "raftlab-trace")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	stream := filepath.Join(dir, "events")
	c.Prepare = func(cmd *exec.Cmd) error {
		cmd.Env = append(cmd.Env, labrun.StreamVariable+"="+stream)
		return nil
	}
	out, err := r.program(res.Package).Run(r.ctx, c)
	if err != nil {
		return nil, nil, err
	}
	run, err := trace.ReadFile(stream)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	labtrace.Describe(run)
	plain := run.AddMarkedOutput(out.Output, labrun.OutputMark)
	return run, plain, nil
}
