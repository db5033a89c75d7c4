package sim

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"runtime"
	"strings"

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
	Liveness *regexp.Regexp // messages of failed checks that mean Liveness; nil is DefaultLiveness

	// OnBuild, if not nil, is called before Build compiles a package, with the
	// number of packages that are done, and of all.
	OnBuild func(pkg string, done, total int)
}

// A Program is the test binary of one package, ready to run under one engine.
// Its methods may be called from several goroutines at once.
type Program interface {
	Package() string // import path
	Engine() string
	// Tests lists the top-level tests whose names match the pattern, which is
	// as for go test -run up to the first slash.
	Tests(ctx context.Context, pattern string) ([]string, error)
	// Run runs one case. An error means that there was no run; whatever the
	// test did is in the outcome.
	Run(ctx context.Context, c Case) (Outcome, error)
	// Close removes what Build left behind.
	Close() error
}

// Select returns the engine to use for the Go toolchain found in dir and why:
// native where its version is one that the edits were tested on.
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

// NativeVersions lists the Go versions that the native engine was tested on.
// It is chosen for these, and for the patch releases between two of them.
func NativeVersions() []string { return overlay.Tested() }

// program is what the programs of all engines share.
type program struct {
	pkg pkgInfo
	opt Options
	dir string // of the binary
	bin string
}

func (p *program) Package() string  { return p.pkg.ImportPath }
func (p *program) Engine() string   { return p.opt.Engine }
func (p *program) options() Options { return p.opt }

// optionsOf is how a program was built, as far as that is known.
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

// listed reads the answer to listArgs, and what kept the binary from answering.
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

// listedRE matches what is run: tests, examples, and fuzz targets with their
// seed corpus. A TestMain may write other lines.
var listedRE = regexp.MustCompile(`(?m)^(Test|Example|Fuzz)[\pL\p{Nd}_]*$`)

// anchored makes a pattern of a test's name, which may go on to name subtests.
func anchored(test string) string {
	top, sub, found := strings.Cut(test, "/")
	top = "^" + strings.TrimSuffix(strings.TrimPrefix(top, "^"), "$") + "$"
	if found {
		return top + "/" + sub
	}
	return top
}
