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

// Job says what to check and how.
type Job struct {
	Model    string        // one of Names
	Path     string        // of the history; "-" is In
	HTML     string        // where to write the picture; "" for none
	Timeout  time.Duration // of the check; 0 for no bound
	Memory   int64         // that the check may use, in bytes; 0 for porcupine.DefaultMemoryLimit
	Quiet    bool          // do not report progress
	In       io.Reader     // the history, if Path is "-"
	Out, Err io.Writer     // the answer goes to Out, progress to Err
}

// The codes that Run returns, for a command to exit with.
const (
	CodeLegal   = 0 // the history is linearizable
	CodeIllegal = 1 // it is not
	CodeUnknown = 2 // that could not be decided, or the input is bad
)

// Run reads a history, checks it, and writes the answer with its explanation. The error says why
// the code is CodeUnknown; it is nil with the other codes.
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
