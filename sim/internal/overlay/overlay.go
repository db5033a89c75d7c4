// Package overlay generates files for go build -overlay. With these files,
// every choice in the test binaries of a Go toolchain follows from a seed. The
// package reads the user's own Go tree, edits copies by anchored replacements,
// and never changes the tree. A source must contain each anchor exactly once.
// Otherwise Generate refuses the source, because no engine is better than an
// almost deterministic one.
package overlay

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"raftlab/sim/internal/kernel"
)

// ErrMismatch is returned if the source of a Go tree lacks the anchor of an
// edit.
var ErrMismatch = errors.New("overlay: Go source does not match")

//go:embed files
var added embed.FS

// An edit replaces the only occurrence of old in a file of the Go tree.
type edit struct {
	file string // below GOROOT/src
	old  string
	new  string
	why  string
}

// tested lists the Go versions on which the edits were tested, in ascending
// order.
var tested = []string{"go1.25.0", "go1.25.14", "go1.26.0", "go1.26.8", "go1.26.11", "go1.27.0", "go1.27.4"}

// Tested lists the Go versions on which the edits were tested.
func Tested() []string { return slices.Clone(tested) }

// Supports reports whether a version was tested, or lies between two tested
// patch releases of one Go release. Patch releases contain fixes only.
func Supports(v string) bool {
	if slices.Contains(tested, v) {
		return true
	}
	sameRelease := func(t string) bool { return version.Lang(t) == version.Lang(v) && version.IsValid(v) }
	older := slices.ContainsFunc(tested, func(t string) bool { return sameRelease(t) && version.Compare(t, v) < 0 })
	newer := slices.ContainsFunc(tested, func(t string) bool { return sameRelease(t) && version.Compare(t, v) > 0 })
	return older && newer
}

// Generate writes the edited files of the Go tree at goroot below dir, and
// returns the path of an overlay file with the list. The name of the directory
// follows from the tree's place and the content. So the same tree always gives
// the same paths, and one build cache serves all runs.
func Generate(goroot, dir string) (string, error) {
	files, err := apply(goroot)
	if err != nil {
		return "", err
	}
	home := filepath.Join(dir, digest(goroot, files))
	list := filepath.Join(home, "overlay.json")
	if _, err := os.Stat(list); err == nil {
		return list, nil
	}
	return list, write(goroot, home, list, files)
}

// apply returns the content of each edited or added file by the path below
// GOROOT/src.
func apply(goroot string) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range edits {
		if _, ok := files[e.file]; !ok {
			src, err := os.ReadFile(filepath.Join(goroot, "src", filepath.FromSlash(e.file)))
			if err != nil {
				return nil, fmt.Errorf("%w: %s: %v", ErrMismatch, e.file, err)
			}
			files[e.file] = string(src)
		}
		if n := strings.Count(files[e.file], e.old); n != 1 {
			return nil, fmt.Errorf("%w: %s has %d places, not one, to %s; the anchor is %q", ErrMismatch, e.file, n, e.why, e.old)
		}
		files[e.file] = strings.Replace(files[e.file], e.old, e.new, 1)
	}
	for path, name := range additions {
		src, err := added.ReadFile("files/" + name)
		if err != nil {
			return nil, err
		}
		files[path] = string(src)
	}
	if err := addAtomics(goroot, files); err != nil {
		return nil, err
	}
	return files, addKernel(files)
}

// atomicRE matches the declaration of a function of sync/atomic with its names:
// the function, all parameters, and the type of the result.
var atomicRE = regexp.MustCompile(`(?m)^(?://go:noescape\n)?func (\w+)\(([^)]*)\)(?: \(\w+ ([^)]*)\))?$`)

// constraintRE matches a build constraint. The native engine's systems meet those of sync/atomic.
var constraintRE = regexp.MustCompile(`(?m)^//go:build .*\n`)

// addAtomics gives the functions of sync/atomic that are written in assembly a
// body with a point. The assembly keeps its place under another name.
func addAtomics(goroot string, files map[string]string) error {
	const dir = "sync/atomic/"
	asm, err := os.ReadFile(filepath.Join(goroot, "src", "sync", "atomic", "asm.s"))
	if err != nil {
		return fmt.Errorf("%w: %s: %v", ErrMismatch, dir, err)
	}
	text := string(asm)
	pointers, err := os.ReadFile(filepath.Join(goroot, "src", "runtime", "atomic_pointer.go"))
	if err != nil {
		return fmt.Errorf("%w: %s: %v", ErrMismatch, dir, err)
	}
	var found int
	for _, name := range []string{"doc.go", "doc_64.go"} {
		src, err := os.ReadFile(filepath.Join(goroot, "src", "sync", "atomic", name))
		if err != nil {
			return fmt.Errorf("%w: %s: %v", ErrMismatch, dir, err)
		}
		plain := constraintRE.ReplaceAllString(string(src), "")
		// The race detector has functions of its own for these, which also tell it of them.
		files[dir+"sim_race_"+name] = "//go:build race\n\n" + plain
		files[dir+name] = "//go:build !race\n\n" + atomicRE.ReplaceAllStringFunc(plain, func(decl string) string {
			m := atomicRE.FindStringSubmatch(decl)
			from, to := "TEXT ·"+m[1]+"(SB)", "TEXT ·sim"+m[1]+"(SB)"
			if strings.Count(text, from) != 1 || strings.Contains(string(pointers), " sync/atomic."+m[1]+"\n") {
				return decl // package runtime has it, or refers to it
			}
			found++
			text = strings.Replace(text, from, to, 1)
			return atomicWithPoint(m[1], m[2], m[3])
		})
	}
	const operations = 33 // without those of package runtime
	if found != operations {
		return fmt.Errorf("%w: %s has %d functions, not %d, to offer points before", ErrMismatch, dir, found, operations)
	}
	files[dir+"asm.s"] = text
	value, err := os.ReadFile(filepath.Join(goroot, "src", "sync", "atomic", "value.go"))
	if err != nil {
		return fmt.Errorf("%w: %s: %v", ErrMismatch, dir, err)
	}
	files[dir+"value.go"] = strings.ReplaceAll(string(value), "\nfunc ", "\n//go:norace\nfunc ") // no points for packages that were not chosen
	return nil
}

// atomicWithPoint is a function of sync/atomic with a point before the
// operation.
func atomicWithPoint(name, params, result string) string {
	var args []string
	for _, p := range strings.Split(params, ",") {
		arg, _, _ := strings.Cut(strings.TrimSpace(p), " ")
		args = append(args, arg)
	}
	call := "sim" + name + "(" + strings.Join(args, ", ") + ")"
	if result != "" {
		call = "return " + call
	}
	return fmt.Sprintf("//go:noinline\nfunc %s(%s) %s {\n	simAt(addr)\n	%s\n}\n\n//go:noescape\nfunc sim%s(%s) %s", name, params, result, call, name, params, result)
}

// kernelHome is the place of package kernel in the Go tree. Go 1.25 finds no
// package whose directory exists only in an overlay, so package kernel takes the
// place of a package that serves only tests of the standard library.
const kernelHome = "internal/obscuretestdata"

// addKernel adds package kernel to the Go tree. The race detector does not
// watch the package, because the package runs beside all goroutines.
func addKernel(files map[string]string) error {
	files[kernelHome+"/obscuretestdata.go"] = "package obscuretestdata\n"
	entries, err := kernel.Source.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		src, err := kernel.Source.ReadFile(e.Name())
		if err != nil {
			return err
		}
		text := strings.Replace("\n"+string(src), "\npackage kernel\n", "\npackage obscuretestdata\n", 1)
		files[kernelHome+"/"+e.Name()] = strings.ReplaceAll(text, "\nfunc ", "\n//go:norace\n//go:nocheckptr\nfunc ")
	}
	return nil
}

func digest(goroot string, files map[string]string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", goroot)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(h, "%s %d\n%s", name, len(files[name]), files[name])
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// write fills a new directory and renames the directory into place, so that two
// processes may generate at once.
func write(goroot, home, list string, files map[string]string) error {
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(home), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var lists struct{ Replace map[string]string }
	lists.Replace = map[string]string{}
	for path, src := range files {
		flat := strings.ReplaceAll(path, "/", "_")
		if err := os.WriteFile(filepath.Join(tmp, flat), []byte(src), 0o644); err != nil {
			return err
		}
		lists.Replace[filepath.Join(goroot, "src", filepath.FromSlash(path))] = filepath.Join(home, flat)
	}
	data, err := json.MarshalIndent(lists, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, "overlay.json"), data, 0o644); err != nil {
		return err
	}
	if err := os.Rename(tmp, home); err != nil {
		if _, there := os.Stat(list); there == nil {
			return nil // another process was faster
		}
		return err
	}
	return nil
}
