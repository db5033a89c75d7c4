package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"raftlab/sim/internal/overlay"
)

// MaxTrace bounds the injected points listed in an Outcome.
const MaxTrace = 1 << 16

// maxOutput bounds the output of a run. The engine ends a run that writes more.
const maxOutput = 64 << 20

var errOutputLimit = errors.New("more than 64 MiB of output")

// prepareNative generates the overlay for the toolchain in use.
func (b *builder) prepareNative(tc toolchain) error {
	if tc.OS != "linux" || tc.Arch != "amd64" {
		return tc.native()
	}
	if b.opt.Race {
		if err := tc.compilesC(); err != nil {
			return err
		}
	}
	root, err := b.outsideModules(tc)
	if err != nil {
		return err
	}
	// A version that is not on the list may be requested. The anchors decide.
	if b.overlay, err = overlay.Generate(root, filepath.Join(b.cache, "overlay")); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnsupported, tc.Version, err)
	}
	return nil
}

// compilesC returns an error if the C compiler for the race detector is
// missing.
func (tc toolchain) compilesC() error {
	cc, _, _ := strings.Cut(tc.CC, " ")
	if _, err := exec.LookPath(cc); err != nil {
		return fmt.Errorf("%w: the race detector needs a C compiler, and %q is not there (%w). Install the compiler, or set CC to another one", ErrUnsupported, cc, err)
	}
	return nil
}

// outsideModules returns the root of a toolchain under a name outside of the
// module cache. The go command downloads toolchains into the module cache and
// refuses to replace files there, and a symbolic link avoids the refusal.
func (b *builder) outsideModules(tc toolchain) (string, error) {
	if !strings.HasPrefix(tc.Root, tc.Modules+string(filepath.Separator)) {
		return tc.Root, nil
	}
	link := filepath.Join(b.cache, "goroot", filepath.Base(tc.Root))
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return "", err
	}
	if to, err := os.Readlink(link); err != nil || to != tc.Root {
		os.Remove(link)
		if err := os.Symlink(tc.Root, link); err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
	}
	b.tool = filepath.Join(link, "bin", "go")
	b.goroot = []string{"GOROOT=" + link, "GOTOOLCHAIN=local"}
	return link, nil
}

// nativeProgram runs a test binary built with the seeded runtime, one process
// for each run.
type nativeProgram struct {
	program
	shared atomic.Bool // the system refuses private copies of the module's directory
}

// Close removes the binary.
func (p *nativeProgram) Close() error { return os.RemoveAll(p.dir) }

// Tests runs the binary with -test.list.
func (p *nativeProgram) Tests(ctx context.Context, pattern string) ([]string, error) {
	c := Case{Limits: Limits{}.orDefault()}
	run, err := p.start(ctx, c, p.listArgs(pattern))
	if err != nil {
		return nil, err
	}
	out, err := run.wait(ctx, c.Limits)
	if err != nil {
		return nil, err
	}
	return p.listed(out.end, out.output)
}

// Run runs one case in a new process.
func (p *nativeProgram) Run(ctx context.Context, c Case) (Outcome, error) {
	if err := c.Validate(); err != nil {
		return Outcome{}, err
	}
	c = p.ready(c)
	began := time.Now()
	run, err := p.start(ctx, c, p.runArgs(c.Test))
	if err != nil {
		return Outcome{}, err
	}
	res, err := run.wait(ctx, c.Limits)
	if err != nil {
		return Outcome{}, err
	}
	res.end.detector = p.opt.Race
	out := res.outcome(p.opt.Liveness)
	out.Wall = time.Since(began)
	return out, nil
}

// childEnv is the fixed environment of a run. Only the name of the directory
// tmp differs between runs, and the output calls this directory $TMPDIR.
func (p *program) childEnv(tmp string, c Case) []string {
	env := []string{
		"RAFTLAB_SIM=3", // the descriptor of the shared page
		"GOMAXPROCS=1",
		"GODEBUG=asyncpreemptoff=1,gcstoptheworld=2",
		"GOGC=400", // memory that was used before costs less than new pages of the machine
		"GOMEMLIMIT=" + strconv.FormatInt(c.Limits.Memory, 10),
		"GORACE=halt_on_error=0 exitcode=66 atexit_sleep_ms=0",
		"RAFTLAB_REALTIME=1", // time is virtual already: no bubble inside the bubble
		"TZ=UTC",
		"LANG=C",
		"USER=sim",
		"HOME=" + tmp,
		"TMPDIR=" + tmp,
		"PWD=" + guestPath(p.pkg.Dir),
		"PATH=" + os.Getenv("PATH"),
	}
	if c.repeat != "" {
		env = append(env, fmt.Sprintf("%s=%-*s", RepeatEnv, repeatWidth, c.repeat))
	}
	if c.Faults.Record {
		env = append(env, faultsEnv+"="+faultsDir(tmp))
	}
	return append(env, p.opt.Env...)
}

var errNoTemp = errors.New("sim: no temporary directory for the run")

// scratch makes the temporary directory of a run. All names have the same
// length.
func scratch() (string, error) {
	for range 100 {
		dir := filepath.Join(os.TempDir(), fmt.Sprintf("raftlab-run-%016x", rand.Uint64()))
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("%w: %w", errNoTemp, err)
		}
	}
	return "", errNoTemp
}
