package sim

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"raftlab/sim/internal/overlay"
)

// Engine names.
const (
	Native = "native"
	WASM   = "wasm"
)

// Options say how test binaries are built and run.
type Options struct {
	Engine   string         // Native, WASM, or "" to choose by Select
	Race     bool           // build with the race detector (native only; needs a C compiler)
	Tags     string         // build tags, comma-separated
	Env      []string       // KEY=value pairs that tests see besides the fixed environment
	Args     []string       // arguments of the test binary besides its own, as for go test -args
	Dir      string         // directory in which package patterns are resolved; "" is the current one
	CacheDir string         // for overlays and compiled modules; "" is below os.UserCacheDir
	Preempt  []string       // patterns of packages whose memory accesses are points too (native only, not with Race)
	Liveness *regexp.Regexp // messages of failed checks that mean Liveness; nil is DefaultLiveness
	Start    time.Time      // the clock of a world begins within the hour after it, from 1970 to 2200; zero is DefaultStart

	// OnBuild, if not nil, is called before Build compiles a package, with the
	// number of finished packages and of all packages.
	OnBuild func(pkg string, done, total int)
	// Tool, if not nil, may change a go command before its start, in order to
	// limit the command.
	Tool func(*exec.Cmd)
}

// DefaultStart is the time at which worlds begin. Certificates and dates in tests are
// often valid for a few years only.
var DefaultStart = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// firstStart is the time at which worlds began before Options had a Start.
var firstStart = time.Date(2009, time.November, 10, 23, 0, 0, 0, time.UTC)

// start is the time at which worlds begin, in nanoseconds since 1970.
func (o Options) start() int64 {
	if o.Start.IsZero() {
		return DefaultStart.UnixNano()
	}
	return o.Start.UnixNano()
}

// checkStart reports a time out of range as ErrInvalid.
func (o Options) checkStart() error {
	if year := o.Start.UTC().Year(); !o.Start.IsZero() && (year < 1970 || year > 2200) {
		return fmt.Errorf("%w: start %v is not within the years 1970 and 2200", ErrInvalid, o.Start)
	}
	return nil
}

// A Program is the test binary of one package under one engine. Several
// goroutines may call the methods at once.
type Program interface {
	Package() string // import path
	Engine() string
	// Tests lists the top-level tests whose names match the pattern, the part
	// of a go test -run pattern before the first slash.
	Tests(ctx context.Context, pattern string) ([]string, error)
	// Run runs one case. An error means that there was no run. The outcome
	// holds everything that the test did.
	Run(ctx context.Context, c Case) (Outcome, error)
	// Close removes the files of Build.
	Close() error
}

// Select returns an engine for the Go toolchain in dir, and the reason. The
// choice is Native if the edits were tested on the toolchain's version.
func Select(ctx context.Context, dir string) (engine, reason string, err error) {
	tc, err := findToolchain(ctx, dir)
	if err != nil {
		return "", "", err
	}
	if err := tc.native(); err != nil {
		return WASM, strings.TrimPrefix(err.Error(), ErrUnsupported.Error()+": "), nil
	}
	return Native, tc.Version + " on " + runtime.GOOS + "/" + runtime.GOARCH + " is supported", nil
}

// NativeVersions lists the Go versions on which the native engine was tested.
// Select chooses Native for these versions and for the patch releases between
// two of them.
func NativeVersions() []string { return overlay.Tested() }

// program is the common part of the programs of all engines.
type program struct {
	pkg pkgInfo
	opt Options
	dir string // of the binary
	bin string
}

func (p *program) Package() string  { return p.pkg.ImportPath }
func (p *program) Engine() string   { return p.opt.Engine }
func (p *program) options() Options { return p.opt }

// optionsOf returns the build options of a program if they are known.
func optionsOf(p Program) Options {
	if o, ok := p.(interface{ options() Options }); ok {
		return o.options()
	}
	return Options{}
}

// runArgs are the arguments of a run. They are the same for each run of a test.
func (p *program) runArgs(test string) []string {
	return append([]string{"-test.run=" + anchored(test), "-test.v=true", "-test.timeout=0",
		"-test.parallel=4", "-test.count=1", "-test.paniconexit0"}, p.opt.Args...)
}

// listArgs ask for the names of tests.
func (p *program) listArgs(pattern string) []string {
	return append([]string{"-test.list=" + pattern}, p.opt.Args...)
}

// listed reads the answer to listArgs, or returns the reason why there is no
// answer.
func (p *program) listed(end ending, out []byte) ([]string, error) {
	if verdict, detail := judge(end, out, nil); verdict != Pass {
		return nil, fmt.Errorf("%w: the tests of %s cannot be listed: %s: %s\n%s", ErrBroken, p.pkg.ImportPath, verdict, detail, bytes.TrimSpace(out))
	}
	var names []string
	for _, name := range listedRE.FindAllString(string(out), -1) {
		if name != "TestMain" {
			names = append(names, name)
		}
	}
	return names, nil
}

// listedRE matches tests, examples, and fuzz targets with their seed corpus. A
// TestMain may write other lines.
var listedRE = regexp.MustCompile(`(?m)^(Test|Example|Fuzz)[\pL\p{Nd}_]*$`)

// anchored makes a pattern from the name of a test, perhaps with subtests.
func anchored(test string) string {
	top, sub, found := strings.Cut(test, "/")
	top = "^" + strings.TrimSuffix(strings.TrimPrefix(top, "^"), "$") + "$"
	if found {
		return top + "/" + sub
	}
	return top
}
