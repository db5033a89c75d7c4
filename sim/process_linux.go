//go:build linux

package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a native run under way.
type process struct {
	cmd    *exec.Cmd
	page   *page
	tmp    string
	faults Faults
	shared *atomic.Bool // set if the system refuses a private copy
	cover  bool
	race   bool
	debug  bool // a debugger may stop the run for as long as it likes
	out    *output
	began  time.Time
}

// output collects the output of a run.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	full func()
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	room := maxOutput - o.buf.Len()
	o.buf.Write(b[:min(room, len(b))])
	if len(b) >= room {
		o.full()
	}
	return len(b), nil
}

func (o *output) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Len()
}

// start starts the binary with the page on descriptor 3.
func (p *nativeProgram) start(ctx context.Context, c Case, args []string) (*process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	tmp, err := scratch()
	if err != nil {
		return nil, err
	}
	private := p.privateCopy(tmp, c)
	pg, err := newPage(c, p.opt.start(), private)
	if err != nil {
		os.RemoveAll(tmp)
		return nil, err
	}
	cmd := exec.Command(p.bin, args...)
	cmd.Args[0] = "/proc/self/exe" // for tests that run themselves again; the same in each run
	cmd.Dir = p.pkg.Dir
	cmd.Env = p.childEnv(tmp, c)
	cmd.ExtraFiles = []*os.File{pg.f}
	setApart(cmd)
	if private != nil {
		mayMount(cmd)
	}
	r := &process{cmd: cmd, page: pg, tmp: tmp, shared: &p.shared, faults: c.Faults, cover: c.cover, race: p.opt.Race, debug: c.debug, began: time.Now()}
	r.out = &output{full: r.kill}
	cmd.Stdout, cmd.Stderr = r.out, r.out
	cmd.WaitDelay = 2 * time.Second // for grandchildren that keep the pipe open
	err = c.Faults.prepare(tmp)
	if err == nil && c.Prepare != nil {
		err = c.Prepare(cmd)
	}
	if err == nil {
		err = startUnrandomized(cmd)
	}
	if err != nil {
		r.cleanup()
		if private != nil {
			p.shared.Store(true)
			return p.start(ctx, c, args)
		}
		return nil, fmt.Errorf("sim: %w", err)
	}
	return r, nil
}

// startUnrandomized starts cmd without randomization of the address space,
// because stack dumps show addresses. Where a sandbox forbids this, addresses
// outside of the Go heap may differ between runs.
func startUnrandomized(cmd *exec.Cmd) error {
	const addrNoRandomize = 0x0040000 // personality(2)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old, _, errno := syscall.RawSyscall(syscall.SYS_PERSONALITY, 0xffffffff, 0, 0)
	if errno == 0 {
		syscall.RawSyscall(syscall.SYS_PERSONALITY, old|addrNoRandomize, 0, 0)
		defer syscall.RawSyscall(syscall.SYS_PERSONALITY, old, 0, 0)
	}
	return cmd.Start()
}

// setApart keeps signals from the keyboard away from cmd, and ends cmd with
// this process in any case.
func setApart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func (r *process) kill() { syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) }

func (r *process) cleanup() {
	r.page.close()
	os.RemoveAll(r.tmp)
}

// result is a finished process.
type result struct {
	end    ending
	output []byte
	stack  string
	report report
	points []Point
	faults []Fault
	cpu    time.Duration

	covered []byte
	events  []Event
}

// wait waits for the end of the process. The watchdog may end the process.
func (r *process) wait(ctx context.Context, lim Limits) (result, error) {
	defer r.cleanup()
	exited := make(chan struct{})
	watched := make(chan watch)
	if r.debug {
		lim = Limits{SpinCPU: MaxDuration, Wall: MaxDuration, Memory: MaxMemory}
	}
	go func() { watched <- r.watch(ctx, exited, lim) }()
	err := r.cmd.Wait()
	close(exited)
	w := <-watched
	r.kill() // whatever the test started and left behind
	if ctx.Err() != nil {
		return result{}, ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return result{}, fmt.Errorf("sim: %w", err)
	}
	return r.result(w)
}

func (r *process) result(w watch) (result, error) {
	state := r.cmd.ProcessState
	res := result{end: w.end, cpu: state.UserTime() + state.SystemTime()}
	res.end.code = state.ExitCode()
	var err error
	if res.report, err = r.page.read(); err != nil {
		return res, err
	}
	if res.report[wordRefused] != 0 {
		r.shared.Store(true)
	}
	// Stacks may be cut at the limit of output, because the verdict came
	// before.
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() && w.end == (ending{}) && res.report[wordVerdict] == 0 {
		res.end.note = "ended by " + ws.Signal().String()
		if r.out.len() == maxOutput {
			res.end.excess, res.end.note = true, errOutputLimit.Error()
		}
	}
	if res.report[wordBegan] == 0 && w.end == (ending{}) {
		return res, fmt.Errorf("%w: the run did not have the seeded runtime. The output of the run was:\n%s", ErrUnsupported, r.out.buf.Bytes())
	}
	res.end.limit = res.report[wordVerdict] == verdictLimit
	res.end.deadlock = res.report[wordVerdict] == verdictDeadlock
	if res.points, err = r.page.trace(res.report); err != nil {
		return res, err
	}
	if r.cover {
		if res.covered, err = r.page.covered(); err != nil {
			return res, err
		}
	}
	if res.events, err = r.page.lastEvents(res.report); err != nil {
		return res, err
	}
	if res.faults, err = r.faults.met(r.tmp); err != nil {
		return res, err
	}
	if r.faults.Record {
		met, err := r.page.netFaults(res.report)
		if err != nil {
			return res, err
		}
		res.faults = append(res.faults, met...)
	}
	raw := r.out.buf.Bytes()
	if w.end.spin || w.end.stuck {
		res.stack = runningStack(raw[w.mark:])
		raw = raw[:w.mark]
		res.end.note = strings.TrimPrefix(res.end.note+suffix(place(res.stack)), ": ")
	}
	res.output = bytes.ReplaceAll(raw, []byte(r.tmp), []byte("$TMPDIR"))
	return res, nil
}

func (res result) outcome(liveness *regexp.Regexp) Outcome {
	sum := sha256.Sum256(res.output)
	o := Outcome{
		Output: res.output, Hash: hex.EncodeToString(sum[:]), Stack: res.stack,
		Virtual:  time.Duration(res.report[wordNow] - res.report[wordBegan]),
		CPU:      res.cpu,
		Injected: res.points, Faults: res.faults, Points: res.report[wordPoints], Schedules: res.report[wordSchedules],
		Choices: res.report[wordChoices], Events: res.events, covered: res.covered,
		events: res.report[wordEvents], stopped: res.report[wordVerdict] == verdictStopped, noBreak: res.report[wordVerdict] == verdictNoBreak,
	}
	o.Verdict, o.Detail = judge(res.end, res.output, liveness)
	return o
}

// watch is the result of the watchdog.
type watch struct {
	end  ending
	mark int // length of the output when it acted
}

// stuckAfter is the real time without progress or CPU use after which a run
// counts as waiting for something outside of its world, if it sleeps.
const stuckAfter = 30 * time.Second

// watch reads the shared page at intervals. A process spins if it uses CPU time
// while no goroutine is scheduled and no clock is read. A process without CPU
// use is stuck in the real world.
func (r *process) watch(ctx context.Context, exited <-chan struct{}, lim Limits) watch {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last, seen := r.progress(), time.Now()
	base := r.usage()
	jumps, jumped := r.jumps(), base // at the last jump of the clock
	for {
		select {
		case <-exited:
			return watch{}
		case <-ctx.Done():
			r.kill()
			return watch{}
		case <-tick.C:
		}
		if now := r.progress(); now != last {
			last, seen, base = now, time.Now(), r.usage()
		}
		if now := r.jumps(); now != jumps {
			jumps, jumped = now, r.usage()
		}
		cpu := r.usage() - base
		idle := time.Since(seen)
		switch {
		case r.overMemory(lim, cpu >= lim.SpinCPU):
			r.kill()
			return watch{end: ending{excess: true, note: fmt.Sprintf("more than %d MiB of memory", lim.Memory>>20)}, mark: r.out.len()}
		case cpu >= lim.SpinCPU:
			end := ending{spin: true}
			if base-jumped > lim.SpinCPU/8 { // the program looks at the clock between its work
				end.note = endless
			}
			return r.quit(exited, end)
		case r.debug:
		case (r.usage()-jumped)/computeLimit >= lim.SpinCPU:
			return r.quit(exited, ending{stuck: true, note: fmt.Sprintf("computes for %v of CPU time without a wait; %s", computeLimit*lim.SpinCPU, endless)})
		case idle > stuckAfter && !asleep(r.cmd.Process.Pid):
			seen = time.Now() // the machine is slow
		case idle > stuckAfter && cpu < idle/1000:
			return r.quit(exited, ending{stuck: true, note: "waits for something outside of the simulated world"})
		case time.Since(r.began) > lim.Wall:
			note := fmt.Sprintf("not finished after %v of real time", lim.Wall)
			if !asleep(r.cmd.Process.Pid) {
				note += ", and still computing, which takes no virtual time"
			}
			return r.quit(exited, ending{stuck: true, note: note})
		}
	}
}

// computeLimit is the CPU time, in units of the limit for spinning, after which a run
// without a jump of the clock ends. Such a run looks at the clock, or schedules goroutines.
const computeLimit = 12

// endless explains a test that computes until some time has passed.
const endless = "computing takes no virtual time, so a loop that computes until some time has passed does not end"

// jumps counts the jumps of the clock.
func (r *process) jumps() uint64 {
	rep, err := r.page.read()
	if err != nil {
		return 0
	}
	return rep[wordIdles]
}

// progress is a number that changes with every progress of the run.
func (r *process) progress() uint64 {
	rep, err := r.page.read()
	if err != nil {
		return 0
	}
	return rep[wordSchedules] + rep[wordReads] + rep[wordForced] + rep[wordIdles]
}

// quit makes the busiest thread print its stack, by the signal of the Go
// runtime for this purpose, and ends the process.
func (r *process) quit(exited <-chan struct{}, end ending) watch {
	w := watch{end: end, mark: r.out.len()}
	pid := r.cmd.Process.Pid
	tid := busiest(pid)
	syscall.Syscall(syscall.SYS_TGKILL, uintptr(pid), uintptr(tid), uintptr(syscall.SIGQUIT))
	select {
	case <-exited:
	case <-time.After(5 * time.Second):
		r.kill()
	}
	return w
}

// overMemory reports whether the run holds far more memory than its limit, or
// spins because it only collects garbage. The memory of the race detector
// counts too.
func (r *process) overMemory(lim Limits, spins bool) bool {
	used := resident(r.cmd.Process.Pid)
	if r.race {
		return used > 16*lim.Memory
	}
	return used > 2*lim.Memory || spins && used > lim.Memory/10*9
}

// resident is the memory of a process in bytes, the second field of statm in
// proc(5).
func resident(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, pages int64
	fmt.Sscan(string(data), &size, &pages)
	return pages * int64(os.Getpagesize())
}

// changeTime is the machine's time of a file's last change. The time that a program sees is the
// virtual one, if a world has changed the file.
func changeTime(info os.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}

// usage is the CPU time of the process.
func (r *process) usage() time.Duration {
	return cpuTime(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
}

// cpuTime reads fields 14 and 15 of a stat file of proc(5), in hundredths of a
// second.
func cpuTime(stat string) time.Duration {
	data, err := os.ReadFile(stat)
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// asleep reports whether all threads of a process sleep, and none waits for a processor
// or a disk of the machine. The state is the third field of a stat file of proc(5).
func asleep(pid int) bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, stat := range stats {
		data, err := os.ReadFile(stat)
		_, state, _ := strings.Cut(string(data), ") ")
		if err == nil && !strings.HasPrefix(state, "S") {
			return false
		}
	}
	return true
}

// busiest returns the thread with the most CPU time over a moment.
func busiest(pid int) int {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	before := map[int]time.Duration{}
	best, most := pid, time.Duration(-1)
	for round := range 2 {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			tid, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			cpu := cpuTime(fmt.Sprintf("%s/%d/stat", dir, tid))
			if round == 0 {
				before[tid] = cpu
			} else if used := cpu - before[tid]; used > most {
				best, most = tid, used
			}
		}
		if round == 0 {
			time.Sleep(300 * time.Millisecond)
		}
	}
	return best
}

// processCPU is the CPU time of this process.
func processCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
