package sim

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// wasmProgram runs a test binary built for wasip1/wasm. Compiled code cannot be
// interrupted from within its process. So the runs happen in workers, processes
// of this same program. A worker runs one case at a time, and is replaced when
// a case spins.
type wasmProgram struct {
	program
	cache string

	mu   sync.Mutex
	idle []*worker
}

var errUnpatched = fmt.Errorf("%w: the wasm engine runs an unpatched toolchain and injects nothing, and exploration needs the native engine", ErrUnsupported)

func newWasmProgram(ctx context.Context, base program, cache string) (Program, error) {
	p := &wasmProgram{program: base, cache: filepath.Join(cache, "wasm")}
	// The first worker compiles the module into the cache for the other
	// workers.
	w, err := p.take(ctx)
	if err != nil {
		p.Close()
		return nil, err
	}
	p.put(w)
	return p, nil
}

// Close ends the workers and removes the binary.
func (p *wasmProgram) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.idle {
		w.end()
	}
	p.idle = nil
	return os.RemoveAll(p.dir)
}

// Tests lists the tests by running the binary with -test.list.
func (p *wasmProgram) Tests(ctx context.Context, pattern string) ([]string, error) {
	c := Case{Limits: Limits{}.orDefault()}
	ans, err := p.ask(ctx, c, p.listArgs(pattern))
	if err != nil {
		return nil, err
	}
	return p.listed(ans.ending(), ans.Output)
}

// Run runs one case in a new instance.
func (p *wasmProgram) Run(ctx context.Context, c Case) (Outcome, error) {
	if err := c.Validate(); err != nil {
		return Outcome{}, err
	}
	if !c.Explore.Base() || c.Explore.Listed || c.Net != (Net{}) {
		return Outcome{}, errUnpatched
	}
	c = p.ready(c)
	began := time.Now()
	ans, err := p.ask(ctx, c, p.runArgs(c.Test))
	if err != nil {
		return Outcome{}, err
	}
	sum := sha256.Sum256(ans.Output)
	out := Outcome{
		Output: ans.Output, Hash: hex.EncodeToString(sum[:]), Stack: ans.Stack,
		Virtual: ans.Virtual, CPU: ans.CPU, Wall: time.Since(began), Schedules: ans.Reads, Faults: ans.faults,
	}
	out.Verdict, out.Detail = judge(ans.ending(), ans.Output, p.opt.Liveness)
	return out, nil
}

// ask has a worker run one case.
func (p *wasmProgram) ask(ctx context.Context, c Case, args []string) (answer, error) {
	w, err := p.take(ctx)
	if err != nil {
		return answer{}, err
	}
	tmp, err := scratch()
	if err == nil {
		defer os.RemoveAll(tmp)
		err = c.Faults.prepare(tmp)
	}
	if err != nil {
		p.put(w)
		return answer{}, err
	}
	req := request{
		Args: append([]string{"sim.test"}, args...), Env: p.childEnv(guestPath(tmp), c),
		Seed: c.Seed, Start: p.opt.start(), Root: p.root(), Tmp: tmp, Limits: c.Limits,
	}
	ans, err := w.ask(ctx, req)
	if err != nil || ans.Spin || ans.Stuck {
		w.end()
	} else {
		p.put(w)
	}
	if err == nil && ans.Spin {
		ans.Stack = p.spinStack(ctx, req, ans.Reads)
		ans.Note = spinFunction(ans.Stack)
	}
	if err == nil {
		ans.faults, err = c.Faults.met(tmp)
	}
	return ans, err
}

// spinStack lets a fresh worker find out where a run spins. The result is empty
// if the worker cannot.
func (p *wasmProgram) spinStack(ctx context.Context, req request, calls uint64) string {
	w, err := p.take(ctx)
	if err != nil {
		return ""
	}
	defer w.end()
	req.TraceAfter = calls
	req.Limits.Wall = spinGrace
	ans, err := w.ask(ctx, req)
	if err != nil {
		return ""
	}
	return ans.Stack
}

// root is the directory that a run may read.
func (p *wasmProgram) root() string {
	if p.pkg.Module != nil {
		return p.pkg.Module.Dir
	}
	return p.pkg.Dir
}

// guestPath is a directory's name inside of a run. The name is unchanged on
// Unix. A Windows drive becomes the first directory, because paths inside of a
// run are Unix's.
func guestPath(dir string) string {
	drive := filepath.VolumeName(dir)
	if drive == "" {
		return dir
	}
	return "/" + strings.Trim(drive, `:\`) + filepath.ToSlash(dir[len(drive):])
}

func (p *wasmProgram) take(ctx context.Context) (*worker, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return w, nil
	}
	p.mu.Unlock()
	return startWorker(ctx, p.bin, p.cache)
}

func (p *wasmProgram) put(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, w)
}

// workerEnv makes a process that imports this package a worker.
const workerEnv = "RAFTLAB_SIM_WORKER"

func init() {
	if os.Getenv(workerEnv) != "" {
		os.Exit(workerMain(os.Stdin, os.Stdout))
	}
}

// hello is the first message to a worker.
type hello struct{ Bin, Cache string }

// request asks a worker for a run.
type request struct {
	Args, Env []string
	Seed      uint64
	Start     int64 // of the clock, in ns since 1970
	Root, Tmp string
	Limits    Limits
	// TraceAfter asks where a run spins after so many calls.
	TraceAfter uint64
}

// answer is the result of a request.
type answer struct {
	Code               int
	Output             []byte
	Stack, Note        string
	Virtual, CPU       time.Duration
	Reads              uint64
	Limit, Spin, Stuck bool
	Excess             bool
	faults             []Fault // read by the other side
}

func (a answer) ending() ending {
	return ending{code: a.Code, limit: a.Limit, spin: a.Spin, stuck: a.Stuck, excess: a.Excess, note: a.Note}
}

// worker is a worker process seen from outside.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

var errWorker = errors.New("sim: the wasm worker failed")

func startWorker(ctx context.Context, bin, cache string) (*worker, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), workerEnv+"=1")
	cmd.Stderr = os.Stderr
	setApart(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w to start: %w", errWorker, err)
	}
	w := &worker{cmd: cmd, in: in, out: bufio.NewReader(out)}
	var ready answer
	if err := w.exchange(ctx, hello{Bin: bin, Cache: cache}, &ready); err != nil {
		w.end()
		return nil, err
	}
	if ready.Note != "" {
		w.end()
		return nil, fmt.Errorf("%w: %s", errWorker, ready.Note)
	}
	return w, nil
}

// ask sends a request. A worker that does not answer in time is reported as
// stuck.
func (w *worker) ask(ctx context.Context, req request) (answer, error) {
	limited, cancel := context.WithTimeout(ctx, req.Limits.Wall+spinGrace)
	defer cancel()
	var ans answer
	err := w.exchange(limited, req, &ans)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return answer{Stuck: true, Note: fmt.Sprintf("not finished after %v of real time", req.Limits.Wall)}, nil
	}
	return ans, err
}

// exchange sends one message and waits for another. If ctx ends first the
// worker is killed.
func (w *worker) exchange(ctx context.Context, msg, reply any) error {
	stop := context.AfterFunc(ctx, func() { w.cmd.Process.Kill() })
	defer stop()
	data, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	if _, err := w.in.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("%w: %w", errWorker, err)
	}
	line, err := w.out.ReadBytes('\n')
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errWorker, err)
	}
	return json.Unmarshal(line, reply)
}

func (w *worker) end() {
	w.in.Close()
	w.cmd.Process.Kill()
	w.cmd.Wait()
}
