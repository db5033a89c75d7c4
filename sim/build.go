package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"raftlab/sim/internal/overlay"
)

// Build compiles the tests of the packages that match the patterns. Packages
// without tests are left out. For a package that does not build, the result has
// a program whose methods return ErrBroken with the compiler's output. If no
// package builds, Build returns an error.
func Build(ctx context.Context, opt Options, patterns ...string) ([]Program, error) {
	if err := opt.checkStart(); err != nil {
		return nil, err
	}
	if opt.Engine == "" {
		engine, _, err := Select(ctx, opt.Dir)
		if err != nil {
			return nil, err
		}
		opt.Engine = engine
	}
	if opt.Liveness == nil {
		opt.Liveness = regexp.MustCompile(DefaultLiveness)
	}
	b, err := newBuilder(ctx, opt)
	if err != nil {
		return nil, err
	}
	pkgs, err := b.list(ctx, patterns)
	if err != nil {
		return nil, err
	}
	var programs []Program
	var failed []error
	for i, pkg := range pkgs {
		if b.opt.OnBuild != nil {
			b.opt.OnBuild(pkg.ImportPath, i, len(pkgs))
		}
		p, err := b.build(ctx, pkg)
		if err != nil {
			err = fmt.Errorf("%w: %s does not build:\n%w", ErrBroken, pkg.ImportPath, err)
			p = &brokenProgram{program{pkg: pkg, opt: b.opt}, err}
			failed = append(failed, err)
		}
		programs = append(programs, p)
	}
	if ctx.Err() != nil {
		failed = []error{ctx.Err()}
	} else if len(failed) < len(pkgs) {
		return programs, nil
	}
	for _, p := range programs {
		p.Close()
	}
	return nil, errors.Join(failed...)
}

// brokenProgram stands for a package that does not build.
type brokenProgram struct {
	program
	err error
}

func (p *brokenProgram) Tests(context.Context, string) ([]string, error) { return nil, p.err }
func (p *brokenProgram) Run(context.Context, Case) (Outcome, error)      { return Outcome{}, p.err }
func (p *brokenProgram) Close() error                                    { return nil }

// toolchain is the output of go env.
type toolchain struct {
	Root    string `json:"GOROOT"`
	Version string `json:"GOVERSION"`
	OS      string `json:"GOHOSTOS"`
	Arch    string `json:"GOHOSTARCH"`
	Modules string `json:"GOMODCACHE"`
	CC      string `json:"CC"`
	Flags   string `json:"GOFLAGS"`
}

func findToolchain(ctx context.Context, dir string) (toolchain, error) {
	var tc toolchain
	out, err := goCommand(ctx, "go", dir, nil, nil, "env", "-json", "GOROOT", "GOVERSION", "GOHOSTOS", "GOHOSTARCH", "GOMODCACHE", "CC", "GOFLAGS")
	if err != nil {
		return tc, err
	}
	return tc, json.Unmarshal(out, &tc)
}

// native reports why the native engine is not chosen for the toolchain.
func (tc toolchain) native() error {
	if tc.OS != "linux" || tc.Arch != "amd64" {
		return fmt.Errorf("%w: the native engine runs on linux/amd64, not %s/%s", ErrUnsupported, tc.OS, tc.Arch)
	}
	if !overlay.Supports(tc.Version) {
		return fmt.Errorf("%w: the native engine is tested on %s, not %s", ErrUnsupported, strings.Join(overlay.Tested(), ", "), tc.Version)
	}
	return nil
}

// goCommand runs a go tool and returns its standard output. prepare may be nil.
func goCommand(ctx context.Context, tool, dir string, env []string, prepare func(*exec.Cmd), args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if prepare != nil {
		prepare(cmd)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it removes its temporary files
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, &goError{args, err, string(bytes.TrimSpace(stderr.Bytes()))}
	}
	return out, nil
}

// goError reports a failed go command.
type goError struct {
	args []string
	err  error
	said string // on standard error
}

func (e *goError) Error() string {
	return fmt.Sprintf("go %s: %v\n%s", strings.Join(e.args, " "), e.err, e.said)
}

func (e *goError) Unwrap() error { return e.err }

// pkgInfo is the output of go list for a package.
type pkgInfo struct {
	ImportPath   string
	Dir          string
	TestGoFiles  []string
	XTestGoFiles []string
	Module       *struct{ Dir string }
	Error        *struct{ Pos, Err string } // the package cannot even be read
}

// builder compiles test binaries for one engine.
type builder struct {
	opt     Options
	cache   string   // directory that survives
	tool    string   // the go command
	goroot  []string // environment that the tool needs to find itself
	overlay string   // native: path of the overlay file
	preempt []string // flags that make memory accesses points
}

func newBuilder(ctx context.Context, opt Options) (*builder, error) {
	b := &builder{opt: opt, cache: opt.CacheDir, tool: "go"}
	if b.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("sim: no cache directory for the overlay: %w", err)
		}
		b.cache = filepath.Join(dir, "raftlab")
	}
	tc, err := findToolchain(ctx, opt.Dir)
	if err != nil {
		return nil, err
	}
	if err := b.goFlags(tc); err != nil {
		return nil, err
	}
	switch opt.Engine {
	case Native:
		if err := b.prepareNative(tc); err != nil {
			return nil, err
		}
		return b, b.preemptive(ctx)
	case WASM:
		if len(b.opt.Preempt) > 0 {
			return nil, fmt.Errorf("%w: the wasm engine has no preemption at memory accesses (%s)", ErrUnsupported, strings.Join(b.opt.Preempt, " "))
		}
		if b.opt.Race {
			return nil, fmt.Errorf("%w: the wasm engine has no race detector", ErrUnsupported)
		}
		return b, nil
	}
	return nil, fmt.Errorf("%w: engine %q is neither %q nor %q", ErrInvalid, opt.Engine, Native, WASM)
}

// goFlags adds the settings in GOFLAGS that would be overridden. The other
// flags there reach the go command as always.
func (b *builder) goFlags(tc toolchain) error {
	for _, flag := range strings.Fields(tc.Flags) {
		name, value, _ := strings.Cut(strings.TrimLeft(strings.Trim(flag, `'"`), "-"), "=")
		switch {
		case name == "tags":
			b.opt.Tags = strings.Trim(value+","+b.opt.Tags, ",")
		case name == "race" && value != "false":
			b.opt.Race = true
		case name == "overlay" && b.opt.Engine == Native:
			return fmt.Errorf("%w: GOFLAGS has %s, and the native engine needs an overlay of its own", ErrUnsupported, flag)
		}
	}
	return nil
}

// preemptive finds the packages of Options.Preempt. The compiler instruments
// them as for the race detector, and the overlay makes a point of each call.
func (b *builder) preemptive(ctx context.Context) error {
	if len(b.opt.Preempt) == 0 {
		return nil
	}
	if b.opt.Race {
		return fmt.Errorf("%w: preemption at memory accesses (%s) and the race detector need the same instrumentation", ErrUnsupported, strings.Join(b.opt.Preempt, " "))
	}
	args := append([]string{"list", "-f", "{{.ImportPath}} {{.Standard}}"}, b.flags()...)
	out, err := goCommand(ctx, b.tool, b.opt.Dir, b.env(), b.opt.Tool, append(args, b.opt.Preempt...)...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		path, standard, _ := strings.Cut(strings.TrimSpace(line), " ")
		if standard == "true" {
			return fmt.Errorf("%w: package %s belongs to the standard library, and preemption in the middle of it may stop the world", ErrInvalid, path)
		}
		b.preempt = append(b.preempt, "-gcflags="+path+"=-race")
	}
	return nil
}

// env is the environment of the go tool for the engine's target.
func (b *builder) env() []string {
	if b.opt.Engine == WASM {
		return []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}
	}
	cgo := "CGO_ENABLED=0"
	if b.opt.Race {
		cgo = "CGO_ENABLED=1"
	}
	return append(slices.Clone(b.goroot), "GOOS=linux", "GOARCH=amd64", cgo)
}

// flags are the build flags that go list needs too.
func (b *builder) flags() []string {
	tags := "timetzdata" // there are no files for time zones
	if b.opt.Engine == Native {
		tags = "faketime,netgo,osusergo"
	}
	return []string{"-tags", strings.Trim(tags+","+b.opt.Tags, ",")}
}

func (b *builder) list(ctx context.Context, patterns []string) ([]pkgInfo, error) {
	args := append([]string{"list", "-e", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles,Module,Error"}, b.flags()...)
	out, err := goCommand(ctx, b.tool, b.opt.Dir, b.env(), b.opt.Tool, append(args, patterns...)...)
	if err != nil {
		return nil, err
	}
	var pkgs []pkgInfo
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p pkgInfo
		if err := dec.Decode(&p); err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 || p.Error != nil {
			pkgs = append(pkgs, p)
		}
	}
	if len(pkgs) == 0 {
		return nil, fmt.Errorf("%w: no tests in %s", ErrInvalid, strings.Join(patterns, " "))
	}
	return pkgs, nil
}

// build compiles the test binary of one package into a new directory.
func (b *builder) build(ctx context.Context, pkg pkgInfo) (Program, error) {
	if e := pkg.Error; e != nil {
		return nil, errors.New(strings.TrimPrefix(e.Pos+": "+e.Err, ": "))
	}
	dir, err := os.MkdirTemp("", "raftlab-sim-")
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "sim.test")
	args := append([]string{"test", "-c", "-vet=off", "-o", bin}, b.flags()...)
	if b.opt.Engine == Native {
		args = append(args, "-overlay", b.overlay)
	}
	if b.opt.Race {
		args = append(args, "-race")
	} else if b.opt.Engine == Native {
		// So the methods of sync/atomic that are not inlined call the functions
		// with points. Only instrumented packages do not inline them.
		args = append(append(args, "-gcflags=sync/atomic=-race"), b.preempt...)
	}
	if _, err := goCommand(ctx, b.tool, b.opt.Dir, b.env(), b.opt.Tool, append(args, pkg.ImportPath)...); err != nil {
		os.RemoveAll(dir)
		return nil, b.withoutCgo(ctx, pkg, err)
	}
	base := program{pkg: pkg, opt: b.opt, dir: dir, bin: bin}
	if b.opt.Engine == WASM {
		return newWasmProgram(ctx, base, b.cache)
	}
	return &nativeProgram{program: base}, nil
}

// withoutCgo returns the compiler's output, and names a package that needs cgo
// if there is one.
func (b *builder) withoutCgo(ctx context.Context, pkg pkgInfo, err error) error {
	if failed := (*goError)(nil); errors.As(err, &failed) && failed.said != "" {
		err = errors.New(failed.said)
	}
	args := append([]string{"list", "-deps", "-test", "-f", "{{if and .CgoFiles (not .Standard)}}{{.ImportPath}}{{end}}"}, b.flags()...)
	out, _ := goCommand(ctx, b.tool, b.opt.Dir, append(slices.Clone(b.goroot), "CGO_ENABLED=1"), b.opt.Tool, append(args, pkg.ImportPath)...)
	if users := strings.Fields(string(out)); len(users) > 0 && !b.opt.Race {
		return fmt.Errorf("%w: %s uses cgo, and C code is outside of a simulated world: %w", ErrUnsupported, users[0], err)
	}
	return err
}
