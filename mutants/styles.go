package main

import (
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// stylesDir holds a directory for each implementation in another style.
const stylesDir = "mutants/styles"

// labPackages are the packages of the labs, each with its tests.
var labPackages = []struct{ name, parts string }{
	{"raft", allParts}, {"kvraft", "3A|3B"}, {"shardctrler", "4A"}, {"shardkv", "4B"},
	{"y2025/kvsrv1", "2$"}, {"y2025/kvsrv1/lock", "2$"}, {"y2025/kvraft1/rsm", "4A|4C"}, {"y2025/kvraft1", "4B|4C"},
	{"y2025/shardkv1", "5A|5B|5C"},
}

// styles2025 are the directories of implementations of the 2025 edition.
var styles2025 = []string{"mutants/y2025/polls", "mutants/y2025/loops"}

// parts2025 are packages of the 2025 edition. The suite of shardkv1 judges the last two.
var parts2025 = []string{"kvsrv1", "kvsrv1/lock", "kvraft1/rsm", "kvraft1", "shardkv1", "shardkv1/shardctrler", "shardkv1/shardgrp"}

func partsOf(pkg string) string {
	for _, p := range labPackages {
		if p.name == pkg {
			return p.parts
		}
	}
	return allParts
}

// An implementation is a correct implementation of lab 2, and perhaps of later labs.
type implementation struct {
	name, about string
	// files are the Go files of each replaced package. An implementation without files
	// is the project's own.
	files    map[string][]string
	judged   []string // packages whose suites judge the implementation; all in files if empty
	mistakes []mistake
}

// A mistake is a bug of an implementation.
type mistake struct {
	name, why string
	pkg       string
	file      string // slash-separated, from the implementation's directory
	edits     []edit
	plant     func(root, dir string) (overlay string, err error)
}

// implementations returns the project's own Raft, the plain Raft and its innocent
// variants, written below dir, and those in other styles below root.
func implementations(root, dir string) ([]implementation, error) {
	all := []implementation{
		{name: "raftlab", about: "the project's own: a state machine without locks", mistakes: planted(raftMutants)},
		{
			name: "student", about: "one mutex, one ticker, a goroutine for each RPC", mistakes: planted(studentMutants),
			files: map[string][]string{"raft": {filepath.Join(root, filepath.FromSlash(student))}},
		},
	}
	for _, c := range innocents {
		if _, err := c.plant(root, filepath.Join(dir, c.name)); err != nil {
			return nil, err
		}
		all = append(all, implementation{name: c.name, about: c.why, files: map[string][]string{"raft": {filepath.Join(dir, c.name, "raft.go")}}})
	}
	dirs, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(stylesDir)))
	if err != nil {
		return nil, err
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		impl, err := readStyle(filepath.Join(root, filepath.FromSlash(stylesDir), d.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, impl)
		over, err := impl.overOthers(root, dir)
		if err != nil {
			return nil, err
		}
		all = append(all, over...)
	}
	for _, dir := range styles2025 {
		impl, err := readStyle2025(filepath.Join(root, filepath.FromSlash(dir)))
		if err != nil {
			return nil, err
		}
		all = append(all, impl)
	}
	return all, nil
}

// readStyle2025 reads an implementation of the 2025 edition in a directory.
func readStyle2025(dir string) (implementation, error) {
	impl := implementation{name: "2025-" + filepath.Base(dir), files: make(map[string][]string)}
	for _, part := range parts2025 {
		files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(part), "*.go"))
		if err != nil {
			return impl, err
		}
		if len(files) == 0 {
			return impl, fmt.Errorf("%s has no package %s", dir, part)
		}
		impl.files["y2025/"+part] = files
		if suite := suiteOf(part); suite == "y2025/"+part {
			impl.judged = append(impl.judged, suite)
		}
	}
	impl.about = packageComment(impl.files["y2025/kvraft1/rsm"])
	if err := impl.readMistakes(dir); err != nil {
		return impl, err
	}
	for i := range impl.mistakes {
		if m := &impl.mistakes[i]; !strings.HasPrefix(m.pkg, "y2025/") {
			m.pkg = suiteOf(path.Dir(m.file))
		}
	}
	return impl, nil
}

// suiteOf returns the package with the suite for a package of the 2025 edition.
func suiteOf(part string) string {
	if strings.HasPrefix(part, "shardkv1") {
		part = "shardkv1"
	}
	return "y2025/" + part
}

// noChoice lets services of 2021 run over the plain Raft, which installs a snapshot
// before the service sees it.
const noChoice = `package raft

func (rf *Raft) CondInstallSnapshot(int, int, []byte) bool { return true }
`

// overOthers returns the services of an implementation, if any, over the project's Raft
// and over the plain one. It writes below dir.
func (impl implementation) overOthers(root, dir string) ([]implementation, error) {
	services := slices.DeleteFunc(impl.packages(), func(pkg string) bool { return pkg == "raft" })
	if len(services) == 0 {
		return nil, nil
	}
	choice := filepath.Join(dir, "nochoice.go")
	if err := os.WriteFile(choice, []byte(noChoice), 0o644); err != nil {
		return nil, err
	}
	ours, plain := maps.Clone(impl.files), maps.Clone(impl.files)
	delete(ours, "raft")
	plain["raft"] = []string{filepath.Join(root, filepath.FromSlash(student)), choice}
	return []implementation{
		{name: impl.name + "-over-raftlab", about: "these services over the project's own Raft", files: ours, judged: services},
		{name: impl.name + "-over-student", about: "these services over the plain Raft", files: plain, judged: services},
	}, nil
}

// planted makes mistakes of mutants.
func planted(mutants []mutant) (all []mistake) {
	for _, m := range mutants {
		all = append(all, mistake{name: m.name, why: m.why, pkg: "raft", plant: m.plant})
	}
	return all
}

// readStyle reads the implementation in a directory.
func readStyle(dir string) (implementation, error) {
	impl := implementation{name: filepath.Base(dir), files: make(map[string][]string)}
	for _, p := range labPackages {
		sub := filepath.Join(dir, p.name)
		if p.name == "raft" {
			sub = dir
		}
		files, err := filepath.Glob(filepath.Join(sub, "*.go"))
		if err != nil {
			return impl, err
		}
		files = slices.DeleteFunc(files, func(f string) bool {
			return filepath.Base(f) == "persister.go" || strings.HasSuffix(f, "_test.go")
		})
		if len(files) > 0 {
			impl.files[p.name] = files
		}
	}
	if len(impl.files["raft"]) == 0 {
		return impl, fmt.Errorf("%s has no package raft", dir)
	}
	impl.about = packageComment(impl.files["raft"])
	return impl, impl.readMistakes(dir)
}

// readMistakes reads mistakes.txt in the directory of an implementation.
func (impl *implementation) readMistakes(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "mistakes.txt"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	impl.mistakes, err = parseMistakes(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, "mistakes.txt"), err)
	}
	for i := range impl.mistakes {
		m := &impl.mistakes[i]
		m.plant = func(root, to string) (string, error) { return impl.plantEdits(root, dir, to, *m) }
	}
	return nil
}

// packageComment returns the first sentence of a package's comment.
func packageComment(files []string) string {
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil || f.Doc == nil {
			continue
		}
		sentence, _, _ := strings.Cut(strings.ReplaceAll(f.Doc.Text(), "\n", " "), ". ")
		return strings.TrimSuffix(strings.TrimSpace(sentence), ".")
	}
	return ""
}

// parseMistakes reads the format of mistakes.txt (see the README of the styles).
func parseMistakes(text string) (all []mistake, err error) {
	var current *mistake
	var block *strings.Builder
	var e edit
	for i, line := range strings.Split(text, "\n") {
		switch name, why, _ := strings.Cut(strings.TrimPrefix(line, "mistake "), ": "); {
		case block != nil && line == "===":
			e.old = strings.TrimSuffix(block.String(), "\n")
			block = &strings.Builder{}
		case block != nil && line == ">>>":
			e.new = strings.TrimSuffix(block.String(), "\n")
			current.edits, block, e = append(current.edits, e), nil, edit{}
		case block != nil:
			block.WriteString(line + "\n")
		case strings.HasPrefix(line, "mistake "):
			all = append(all, mistake{name: name, why: why, file: "raft.go", pkg: "raft"})
			current = &all[len(all)-1]
		case current != nil && strings.HasPrefix(line, "file "):
			current.file = strings.TrimSpace(strings.TrimPrefix(line, "file "))
			if dir, _, nested := strings.Cut(current.file, "/"); nested {
				current.pkg = dir
			}
		case current != nil && strings.HasPrefix(line, "suite "):
			current.pkg = strings.TrimSpace(strings.TrimPrefix(line, "suite "))
		case current != nil && line == "<<<":
			block = &strings.Builder{}
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		default:
			return nil, fmt.Errorf("line %d: unexpected %q", i+1, line)
		}
	}
	for _, m := range all {
		if len(m.edits) == 0 || m.why == "" || block != nil {
			return nil, fmt.Errorf("mistake %q is incomplete", m.name)
		}
	}
	return all, nil
}

// plantEdits writes the file with a mistake into to, and returns an overlay for the
// whole implementation.
func (impl implementation) plantEdits(root, dir, to string, m mistake) (string, error) {
	original := filepath.Join(dir, filepath.FromSlash(m.file))
	text, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	mutated, err := applyEdits(string(text), m.edits)
	if err != nil {
		return "", fmt.Errorf("%w of %s", err, original)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", err
	}
	wrong, err := filepath.Abs(filepath.Join(to, filepath.Base(m.file)))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(wrong, []byte(mutated), 0o644); err != nil {
		return "", err
	}
	replace, err := impl.inPlace(root)
	if err != nil {
		return "", err
	}
	full, err := filepath.Abs(original)
	if err != nil {
		return "", err
	}
	for path, by := range replace {
		if by == full {
			replace[path] = wrong
		}
	}
	return writeOverlay(to, replace)
}

// inPlace returns the replacement of each file below root that puts the implementation
// in the place of the project's packages.
func (impl implementation) inPlace(root string) (map[string]string, error) {
	replace := make(map[string]string)
	for pkg, files := range impl.files {
		dir, err := filepath.Abs(filepath.Join(root, pkg))
		if err != nil {
			return nil, err
		}
		have, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, file := range have {
			// The suites of services reach kv.rf through export_test.go.
			if name := filepath.Base(file); !ofSuites(name) && (pkg == "raft" || name != "export_test.go") {
				replace[file] = "" // removed
			}
		}
		for _, file := range files {
			full, err := filepath.Abs(file)
			if err != nil {
				return nil, err
			}
			replace[filepath.Join(dir, filepath.Base(file))] = full
		}
	}
	return replace, nil
}

// limit leaves the suites of packages with a matching name, and reports whether any is
// left.
func (impl *implementation) limit(suite *regexp.Regexp) bool {
	other := func(pkg string) bool { return !suite.MatchString(pkg) }
	impl.judged = slices.DeleteFunc(impl.packages(), other)
	// The functions that plant mistakes point into the slice, so a copy is filtered.
	impl.mistakes = slices.DeleteFunc(slices.Clone(impl.mistakes), func(m mistake) bool { return other(m.pkg) })
	return len(impl.judged) > 0
}

// packages returns the labs' packages of an implementation, in the order of the labs.
func (impl implementation) packages() []string {
	switch {
	case len(impl.judged) > 0:
		return impl.judged
	case len(impl.files) == 0:
		return []string{"raft"}
	}
	order := func(pkg string) int {
		return slices.IndexFunc(labPackages, func(p struct{ name, parts string }) bool { return p.name == pkg })
	}
	return slices.SortedFunc(maps.Keys(impl.files), func(a, b string) int { return cmp.Compare(order(a), order(b)) })
}
