package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// GoTestEnv returns the environment in which go test builds test binaries for
// the native engine and starts each one with the command run. Existing GOFLAGS
// stay.
func GoTestEnv(ctx context.Context, opt Options, run string) ([]string, error) {
	opt.Engine = Native
	b, err := newBuilder(ctx, opt)
	if err != nil {
		return nil, err
	}
	flags := append([]string{b.flags()[0] + "=" + b.flags()[1]}, "-overlay="+b.overlay, "-exec="+run, "-count=1")
	if b.opt.Race {
		flags = append(flags, "-race")
	}
	for _, flag := range flags {
		if strings.ContainsAny(flag, " \t\n") {
			return nil, fmt.Errorf("%w: GOFLAGS cannot hold %q, because of the space in it", ErrUnsupported, flag)
		}
	}
	goflags := os.Getenv("GOFLAGS")
	for _, flag := range strings.Fields(goflags) {
		if !strings.HasPrefix(strings.TrimLeft(flag, "-"), "tags=") { // Tags has them
			flags = append(flags, flag)
		}
	}
	env := append(b.env(), "GOFLAGS="+strings.Join(flags, " "))
	if filepath.IsAbs(b.tool) {
		env = append(env, "PATH="+filepath.Dir(b.tool)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	}
	return env, nil
}

// Prebuilt returns the program of a test binary that go test has built with
// GoTestEnv. The current directory is the package's directory. Close leaves the
// binary alone.
func Prebuilt(ctx context.Context, opt Options, bin string) (Program, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	out, err := goCommand(ctx, "go", dir, nil, nil, "list", "-json=ImportPath,Dir,Module", ".")
	if err != nil {
		return nil, err
	}
	pkg := pkgInfo{}
	if err := json.Unmarshal(out, &pkg); err != nil {
		return nil, err
	}
	pkg.Dir = dir
	opt.Engine = Native
	if err := opt.checkStart(); err != nil {
		return nil, err
	}
	own, err := os.MkdirTemp("", "raftlab-exec-")
	if err != nil {
		return nil, err
	}
	return &nativeProgram{program: program{pkg: pkg, opt: opt, dir: own, bin: bin}}, nil
}
