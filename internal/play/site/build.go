// Package site makes the page of the playground: one HTML file with the engine as
// WebAssembly, the lessons and the code of the core inside. The file needs no server and no
// network, so a browser opens the file from a disk.
//
// The engine is built from the sources in this program, with the go command. One module has
// every bug of command mutants that fits a function of the core (plantAll). The module is a
// WASI reactor and not a js/wasm program: package wasm then exports plain functions, the
// page needs no file of the Go release, and CI has compiled the standard library for wasip1
// already.
package site

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"raftlab"
	"raftlab/internal/durable"
	"raftlab/raft/core/script"
)

//go:embed page
var page embed.FS

// ErrBuild reports that the go command could not build the engine.
var ErrBuild = errors.New("cannot build the playground's engine")

// packages are the sources of the engine.
var packages = []string{coreDir, coreDir + "/coretest", coreDir + "/script", "internal/play", "internal/play/wasm"}

// lessonDir is the directory of the lessons in the sources.
const lessonDir = "docs/lessons"

// Lesson is the text of a lesson.
type Lesson struct {
	Name  string `json:"name"` // of the file, without .md
	Title string `json:"title"`
	Text  string `json:"text"`
}

// Function is the source of a function of the core.
type Function struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// data is what the page's scripts find.
type data struct {
	Wasm    string              `json:"wasm"` // gzip, base64
	Lessons []Lesson            `json:"lessons"`
	Stories []Lesson            `json:"stories"` // scripts of the core, without effects
	Bugs    []Bug               `json:"bugs"`
	Code    map[string]Function `json:"code"`
}

// Page returns the page. The go command builds the engine at the first call, and a cache in
// the user's cache directory keeps the engine for later calls with the same sources.
func Page(ctx context.Context) ([]byte, error) {
	sources := raftlab.Sources
	bugs, err := Bugs(sources)
	if err != nil {
		return nil, err
	}
	files, planted, err := engineFiles(sources, bugs)
	if err != nil {
		return nil, err
	}
	d := data{Bugs: planted}
	if d.Lessons, err = Lessons(sources); err != nil {
		return nil, err
	}
	if d.Stories, err = stories(sources); err != nil {
		return nil, err
	}
	if d.Code, err = code(sources); err != nil {
		return nil, err
	}
	wasm, err := cached(ctx, files)
	if err != nil {
		return nil, err
	}
	d.Wasm = base64.StdEncoding.EncodeToString(wasm)
	return assemble(d)
}

// engineFiles returns the files of a module with the engine and all bugs.
func engineFiles(sources fs.FS, bugs []Bug) (files map[string][]byte, planted []Bug, err error) {
	files, planted, err = plantAll(sources, bugs)
	if err != nil {
		return nil, nil, err
	}
	for _, pkg := range packages {
		names, err := fs.Glob(sources, pkg+"/*.go")
		if err != nil {
			return nil, nil, err
		}
		for _, name := range names {
			if _, done := files[name]; done || strings.HasSuffix(name, "_test.go") {
				continue
			}
			if files[name], err = fs.ReadFile(sources, name); err != nil {
				return nil, nil, err
			}
		}
	}
	files["internal/play/wasm/plant.go"] = []byte("//go:build wasip1\n\npackage main\n\nimport \"raftlab/raft/core\"\n\nfunc init() { plant = core.Plant }\n")
	files["go.mod"] = []byte("module raftlab\n\ngo 1.26\n")
	return files, planted, nil
}

// cached returns the engine, packed, from the cache or from a build.
func cached(ctx context.Context, files map[string][]byte) ([]byte, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return build(ctx, files)
	}
	name := filepath.Join(dir, "raftlab", "play-"+fingerprint(files)+".wasm.gz")
	if packed, err := os.ReadFile(name); err == nil {
		return packed, nil
	}
	packed, err := build(ctx, files)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err == nil {
		_ = durable.WriteFile(name, packed, 0o644) // the next start builds again
	}
	return packed, nil
}

// fingerprint names a build by its sources and the Go release of this program.
func fingerprint(files map[string][]byte) string {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version())
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s %d\n%s", name, len(files[name]), files[name])
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:32]
}

// build compiles the engine.
func build(ctx context.Context, files map[string][]byte) ([]byte, error) {
	dir, err := os.MkdirTemp("", "raftlab-play")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for name, src := range files {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(to, src, 0o644); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", "core.wasm", "./internal/play/wasm")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: the go command: %w\n%s", ErrBuild, err, out)
	}
	wasm, err := os.ReadFile(filepath.Join(dir, "core.wasm"))
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(wasm); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// Lessons returns the lessons in the order of their names.
func Lessons(sources fs.FS) ([]Lesson, error) {
	names, err := fs.Glob(sources, lessonDir+"/*.md")
	if err != nil {
		return nil, err
	}
	var all []Lesson
	for _, name := range names {
		text, err := fs.ReadFile(sources, name)
		if err != nil {
			return nil, err
		}
		title, _, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n")
		all = append(all, Lesson{strings.TrimSuffix(path.Base(name), ".md"), title, string(text)})
	}
	return all, nil
}

// stories returns the scripts of the core, without the recorded effects.
func stories(sources fs.FS) ([]Lesson, error) {
	names, err := fs.Glob(sources, coreDir+"/testdata/*.txt")
	if err != nil {
		return nil, err
	}
	var all []Lesson
	for _, name := range names {
		text, err := fs.ReadFile(sources, name)
		if err != nil {
			return nil, err
		}
		var kept []string
		recorded := false
		for line := range strings.Lines(string(text)) {
			recorded = line != "\n" && (recorded || line == script.Separator+"\n")
			if !recorded {
				kept = append(kept, line)
			}
		}
		title := strings.TrimSuffix(path.Base(name), ".txt")
		all = append(all, Lesson{"story-" + title, strings.ReplaceAll(title, "_", " "), strings.Join(kept, "")})
	}
	return all, nil
}

// code returns the functions of the core by name. Methods of Core and of the log come
// before others with the same name.
func code(sources fs.FS) (map[string]Function, error) {
	names, err := fs.Glob(sources, coreDir+"/*.go")
	if err != nil {
		return nil, err
	}
	all := map[string]Function{}
	for _, name := range names {
		src, err := fs.ReadFile(sources, name)
		if err != nil {
			return nil, err
		}
		fset, funcs, err := functions(name, string(src))
		if err != nil {
			return nil, err
		}
		for _, k := range slices.Sorted(maps.Keys(funcs)) {
			fn := funcs[k]
			receiver, _, method := strings.Cut(k, ".")
			if _, taken := all[fn.Name.Name]; taken && (!method || receiver != "Core") {
				continue
			}
			from := fn.Pos()
			if fn.Doc != nil {
				from = fn.Doc.Pos()
			}
			all[fn.Name.Name] = Function{name, line(fset, fn.Pos()), cut(fset, string(src), from, fn.End())}
		}
	}
	return all, nil
}

func line(fset *token.FileSet, pos token.Pos) int { return fset.Position(pos).Line }

// assemble puts the parts of the page together.
func assemble(d data) ([]byte, error) {
	read := func(name string) string {
		text, err := page.ReadFile("page/" + name)
		if err != nil {
			panic(err) // the file is embedded
		}
		return string(text)
	}
	packed, err := json.Marshal(d) // escapes <, so no text ends the script
	if err != nil {
		return nil, err
	}
	var scripts strings.Builder
	for _, name := range []string{"engine.js", "run.js", "stage.js", "card.js", "app.js"} {
		scripts.WriteString(strings.Replace(read(name), "\"use strict\";\n", "", 1))
	}
	marks := strings.NewReplacer(
		"/*STYLE*/", read("style.css"),
		"/*DATA*/", "const DATA = "+string(packed)+";",
		"/*SCRIPT*/", "\"use strict\";\n"+scripts.String(),
	)
	return []byte(marks.Replace(read("index.html"))), nil
}
