package grade

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"raftlab/internal/jail"
)

// The type checker has no limits. A few lines of source make it compute for ever, or take
// all memory. Therefore another process of this program inspects the sources of a
// submission.
const (
	inspectEnv    = "RAFTLAB_INSPECT"
	inspectCPU    = 20 * time.Second
	inspectWall   = 2 * time.Minute
	inspectMemory = 1 << 30
)

// An inspection is a package to inspect.
type inspection struct {
	Names []string // of the files, sorted
	Files [][]byte
	Local []string // import paths that lead to the submission or the course
}

func init() {
	if os.Getenv(inspectEnv) == "" {
		return
	}
	err := inspectHere()
	if err != nil {
		fmt.Fprintf(os.Stderr, "grade: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// inspectHere inspects the packages on standard input, and writes the findings to standard
// output.
func inspectHere() error {
	var packages []inspection
	if err := json.NewDecoder(os.Stdin).Decode(&packages); err != nil {
		return err
	}
	found := []Finding{}
	for _, pkg := range packages {
		fset := token.NewFileSet()
		var files []*ast.File
		for i, name := range pkg.Names {
			file, _ := parser.ParseFile(fset, name, pkg.Files[i], parser.ParseComments|parser.SkipObjectResolution)
			if file != nil {
				files = append(files, file)
			}
		}
		found = append(found, inspect(fset, files, func(name string) bool { return slices.Contains(pkg.Local, name) })...)
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

// inspectAll inspects packages in another process. The error is ErrSubmission if the sources
// are too much for the limits.
func inspectAll(ctx context.Context, limits bool, packages []inspection) ([]Finding, error) {
	input, err := json.Marshal(packages)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, inspectWall)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), inspectEnv+"=1", "GOMAXPROCS=1")
	cmd.Stdin = bytes.NewReader(input)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if limits {
		if err := jail.Limit(cmd, jail.Limits{CPU: inspectCPU, Memory: inspectMemory}); err != nil {
			return nil, err
		}
	}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && (ctx.Err() == nil || ctx.Err() == context.DeadlineExceeded):
		first, _, _ := strings.Cut(errOut.String(), "\n")
		return nil, badSubmission("the sources cannot be checked within %v of CPU time and %d MiB of memory: %v %s", inspectCPU, inspectMemory>>20, err, clip(first, 200))
	case err != nil:
		return nil, fmt.Errorf("grade: the sources cannot be inspected: %w", errors.Join(ctx.Err(), err))
	}
	var found []Finding
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		return nil, fmt.Errorf("grade: the findings cannot be read: %w", err)
	}
	return found, nil
}
