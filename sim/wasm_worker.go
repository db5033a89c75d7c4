package sim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"
)

// spinGrace is the real time given to finding out where a run spins.
const spinGrace = 60 * time.Second

// host is the worker's side of one test binary.
type host struct {
	bin     []byte
	runtime wazero.Runtime
	module  wazero.CompiledModule
	reply   *json.Encoder
}

// workerMain serves requests until its input ends.
func workerMain(in io.Reader, out io.Writer) int {
	lines := bufio.NewReader(in)
	h := &host{reply: json.NewEncoder(out)}
	var first hello
	if err := readMessage(lines, &first); err != nil {
		return 1
	}
	ctx := context.Background()
	if err := h.load(ctx, first); err != nil {
		h.reply.Encode(answer{Note: err.Error()})
		return 1
	}
	h.reply.Encode(answer{})
	for {
		var req request
		if err := readMessage(lines, &req); err != nil {
			return 0 // the other side is gone, or done with us
		}
		h.serve(ctx, req)
	}
}

func readMessage(r *bufio.Reader, msg any) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, msg)
}

// load compiles the module, or takes the module from the cache.
func (h *host) load(ctx context.Context, first hello) error {
	var err error
	if h.bin, err = os.ReadFile(first.Bin); err != nil {
		return err
	}
	cache, err := wazero.NewCompilationCacheWithDir(first.Cache)
	if err != nil {
		return err
	}
	conf := wazero.NewRuntimeConfig().WithCompilationCache(cache).WithDebugInfoEnabled(false)
	h.runtime, h.module, err = compile(ctx, conf, h.bin)
	return err
}

func compile(ctx context.Context, conf wazero.RuntimeConfig, bin []byte) (wazero.Runtime, wazero.CompiledModule, error) {
	rt := wazero.NewRuntimeWithConfig(ctx, conf)
	if err := instantiateHost(ctx, rt); err != nil {
		return nil, nil, err
	}
	mod, err := rt.CompileModule(ctx, bin)
	if err != nil {
		return nil, nil, fmt.Errorf("compile the test binary: %w", err)
	}
	return rt, mod, nil
}

// serve runs one request and answers. A spinning run cannot be stopped in this
// process, so serve answers and ends the process. Garbage is collected only
// between runs, because a collection would wait for spinning code for ever, and
// block the watchdog.
func (h *host) serve(ctx context.Context, req request) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	if req.TraceAfter > 0 {
		h.reply.Encode(answer{Stack: h.spinStack(ctx, req)})
		return
	}
	w := newWorld(req)
	cpu := processCPU()
	done := make(chan error, 1)
	go func() { done <- w.run(ctx, h.runtime, h.module, req) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last, since := w.calls.Load(), processCPU()
	for {
		select {
		case err := <-done:
			ans := w.answer(req, err)
			ans.CPU = processCPU() - cpu
			h.reply.Encode(ans)
			return
		case <-tick.C:
		}
		if now := w.calls.Load(); now != last {
			last, since = now, processCPU()
		} else if processCPU()-since > req.Limits.SpinCPU {
			ans := w.answer(req, nil)
			ans.Spin, ans.CPU = true, processCPU()-cpu
			h.reply.Encode(ans)
			os.Exit(0)
		}
	}
}

// world is one run's clock, chance and output.
type world struct {
	limit  int64
	began  int64
	since  int64         // clock reads since the world was idle
	calls  atomic.Uint64 // into the host: the sign of progress
	random io.Reader

	mu     sync.Mutex // the watchdog answers for a world that does not end
	now    int64
	over   bool       // the limit of virtual time was reached
	full   bool       // more output than it may write
	memory api.Memory // of a world that is over
	out    bytes.Buffer
	dump   bytes.Buffer // what a world that is over writes: its stacks
}

func newWorld(req request) *world {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], req.Seed)
	copy(key[8:], "raftlab/sim wasm")
	src := rand.NewChaCha8(key)
	w := &world{limit: int64(req.Limits.Virtual), random: src}
	w.began = req.Start + int64(src.Uint64()%3600e9)
	w.now = w.began
	return w
}

// read is a read of the clock by the program or its runtime. The charge
// escalates as under the native engine.
func (w *world) read() int64 {
	w.calls.Add(1)
	w.since++
	return w.advance(int64(schedTick) * min(1+w.since/schedStep, schedCap))
}

// sleep is called when no goroutine can run before the given time is over.
func (w *world) sleep(ns int64) {
	w.calls.Add(1)
	w.since = 0
	w.advance(ns)
}

// advance moves the clock, up to the first instant after the limit.
func (w *world) advance(ns int64) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now += min(ns, w.began+w.limit+1-w.now)
	return w.now
}

// ends reports whether the limit was reached just now. From then on the world
// writes its stacks, and stacks needs the world's memory.
func (w *world) ends(memory api.Memory) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.now-w.began <= w.limit {
		return false
	}
	w.over, w.memory = true, memory
	return true
}

// Write collects output.
func (w *world) Write(b []byte) (int, error) {
	w.calls.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out.Len()+w.dump.Len()+len(b) > maxOutput {
		w.full = !w.over
		panic(errOutputLimit)
	}
	if w.over {
		return w.dump.Write(b)
	}
	return w.out.Write(b)
}

// run runs the test binary's main function to its end.
func (w *world) run(ctx context.Context, rt wazero.Runtime, mod wazero.CompiledModule, req request) error {
	fs := wazero.NewFSConfig().WithReadOnlyDirMount(req.Root, guestPath(req.Root)).WithDirMount(req.Tmp, guestPath(req.Tmp))
	conf := wazero.NewModuleConfig().WithName("").WithArgs(req.Args...).WithFSConfig(fs).
		WithStdout(w).WithStderr(w).WithRandSource(w.random).
		WithNanosleep(w.sleep).WithOsyield(func() { w.read() })
	for _, kv := range req.Env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			conf = conf.WithEnv(k, v)
		}
	}
	inst, err := rt.InstantiateModule(context.WithValue(ctx, worldKey{}, w), mod, conf)
	if inst != nil {
		inst.Close(ctx)
	}
	return err
}

func (w *world) answer(req request, err error) answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.out.Bytes()
	if w.over {
		out = append(out, w.stacks()...)
	}
	ans := answer{
		Output:  bytes.ReplaceAll(out, []byte(guestPath(req.Tmp)), []byte("$TMPDIR")),
		Virtual: time.Duration(w.now - w.began), Reads: w.calls.Load(), Limit: w.over,
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		ans.Code = int(exit.ExitCode())
	} else if err != nil {
		ans.Code = -1
		switch {
		case w.full:
			ans.Excess, ans.Note = true, errOutputLimit.Error()
		case !w.over:
			ans.Note = err.Error()
		}
	}
	return ans
}

// frames listens to the frames of an interrupted run.
type frames struct{ names []string }

// spinStack repeats a request that spins after a known number of calls, now
// with code that can be interrupted. The result is the frames of the spin, the
// innermost first.
func (h *host) spinStack(ctx context.Context, req request) string {
	var f frames
	ctx = experimental.WithFunctionListenerFactory(ctx, f.factory())
	conf := wazero.NewRuntimeConfig().WithCloseOnContextDone(true).WithDebugInfoEnabled(false)
	rt, mod, err := compile(ctx, conf, h.bin)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, spinGrace/2)
	defer cancel()
	w := newWorld(req)
	go func() {
		for w.calls.Load() < req.TraceAfter && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond) // it spins by now
		cancel()
	}()
	w.run(ctx, rt, mod, req)
	return strings.Join(f.names, "\n")
}

// spinFunction names the innermost function outside of the runtime.
func spinFunction(stack string) string {
	for name := range strings.SplitSeq(stack, "\n") {
		if name != "" && !strings.HasPrefix(name, "runtime.") && !strings.HasPrefix(name, "sync") && !strings.HasPrefix(name, "internal") {
			return "in " + name
		}
	}
	return ""
}
