package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"raftlab/porcupine"
)

// Job is one check of a history.
type Job struct {
	Model    string        // one of Names
	Path     string        // the file of the history, or "-" for In
	HTML     string        // the file for the picture, or "" for no picture
	Timeout  time.Duration // bounds the check, and 0 is no bound
	Memory   int64         // bounds the memory of the check in bytes, and 0 means porcupine.DefaultMemoryLimit
	Quiet    bool          // suppresses reports of progress
	In       io.Reader     // the history, if Path is "-"
	Out, Err io.Writer     // receive the answer and the reports of progress
}

// Run returns one of these codes. A command exits with the code.
const (
	CodeLegal   = 0 // the history is linearizable
	CodeIllegal = 1 // the history is not linearizable
	CodeUnknown = 2 // the check was not decided, or the input is bad
)

// Run reads a history, checks it, and writes the answer with an explanation. The error is nil
// unless the code is CodeUnknown.
func Run(ctx context.Context, job Job) (code int, err error) {
	model, err := Model(job.Model)
	if err != nil {
		return CodeUnknown, err
	}
	if job.Timeout < 0 || job.Memory < 0 {
		return CodeUnknown, fmt.Errorf("timeout %v, memory %d: want 0, for the default, or more", job.Timeout, job.Memory)
	}
	operations, err := job.read()
	if err != nil {
		return CodeUnknown, err
	}
	started := time.Now()
	result, info, err := porcupine.CheckOperationsContext(ctx, model, operations, porcupine.Options{
		Timeout: job.Timeout, MemoryLimit: job.Memory, Verbose: true, Progress: job.progress(),
	})
	if errors.Is(err, porcupine.ErrMalformed) {
		return CodeUnknown, err
	}
	fmt.Fprintf(job.Out, "%s: %d operations, %s, %v\n", words[result], len(operations), job.Model, time.Since(started).Round(time.Millisecond))
	for _, x := range porcupine.Explain(model, info) {
		fmt.Fprintf(job.Out, "\n%v", x)
	}
	if job.HTML != "" {
		if err := porcupine.VisualizePath(model, info, job.HTML); err != nil {
			return CodeUnknown, err
		}
	}
	return map[porcupine.CheckResult]int{porcupine.Ok: CodeLegal, porcupine.Illegal: CodeIllegal, porcupine.Unknown: CodeUnknown}[result], err
}

var words = map[porcupine.CheckResult]string{
	porcupine.Ok:      "linearizable",
	porcupine.Illegal: "not linearizable",
	porcupine.Unknown: "not decided",
}

func (job *Job) read() ([]porcupine.Operation, error) {
	if job.Path == "-" {
		return Read(job.In, job.Model)
	}
	f, err := os.Open(job.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, job.Model)
}

// progressEvery is the time between two reports of progress.
const progressEvery = time.Second

func (job *Job) progress() func(done, total int) {
	if job.Quiet {
		return nil
	}
	last := time.Now()
	return func(done, total int) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			fmt.Fprintf(job.Err, "%d of %d operations decided\n", done, total)
		}
	}
}
