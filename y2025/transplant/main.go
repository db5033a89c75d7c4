// Command transplant joins the packages of this directory with a course's tree, whose
// module is 6.5840. The command writes rewritten files and an overlay for the go command.
// The sources stay as they are. Run the command from the module's root.
//
//	go run ./y2025/transplant -students ~/6.5840/src -o /tmp/students
//	go test -overlay /tmp/students/overlay.json ./y2025/...
//
// With -students the packages of the tree take the place of the project's packages, and
// the project's suites judge them. With -course the tree's tests and harness take the
// place of the project's, and judge the project's packages.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A lab is a package that students write.
type lab struct {
	dir string // below the course's directory src, and below y2025
	// files are the students' files in the course's handout. Others belong to the harness.
	files []string
}

var labs = []lab{
	{"raft1", []string{"raft.go", "util.go"}},
	{"kvsrv1", []string{"client.go", "server.go"}},
	{"kvsrv1/lock", []string{"lock.go"}},
	{"kvraft1", []string{"client.go", "server.go"}},
	{"kvraft1/rsm", []string{"rsm.go"}},
	{"shardkv1", []string{"client.go"}},
	{"shardkv1/shardctrler", []string{"shardctrler.go"}},
	{"shardkv1/shardgrp", []string{"client.go", "server.go"}},
}

// requests are packages that students may extend.
var requests = []string{"kvsrv1/rpc", "shardkv1/shardgrp/shardrpc"}

// ours are packages that stay the project's, because the types are those of package raft.
var ours = []string{"raftapi", "labrpc", "labgob"}

func main() {
	students := flag.String("students", "", "`directory` src of a tree whose packages are to be judged")
	course := flag.String("course", "", "`directory` src of a tree whose tests are to judge the project's packages")
	out := flag.String("o", "", "`directory` for the rewritten files and overlay.json")
	flag.Parse()
	if err := run(*students, *course, *out); err != nil {
		fmt.Fprintln(os.Stderr, "transplant:", err)
		os.Exit(1)
	}
}

func run(students, course, out string) error {
	if (students == "") == (course == "") || out == "" {
		return errors.New("name one tree, by -students or -course, and a directory by -o")
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	t := &transplant{root: ".", out: out, replace: make(map[string]string)}
	if students != "" {
		err = t.students(students)
	} else {
		err = t.course(course)
	}
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(map[string]any{"Replace": t.replace}, "", "\t")
	if err != nil {
		return err
	}
	overlay := filepath.Join(out, "overlay.json")
	if err := os.WriteFile(overlay, data, 0o644); err != nil {
		return err
	}
	fmt.Printf("%d files, in %s. Every other package is this project's.\nRun: go test -overlay %s ./y2025/...\n", len(t.replace), strings.Join(t.packages(), ", "), overlay)
	return nil
}

// A transplant collects the replacements of files of the module at root.
type transplant struct {
	root, out string
	replace   map[string]string
}

// packages returns the packages with replaced files, by their paths below y2025.
func (t *transplant) packages() []string {
	found := make(map[string]bool)
	for file := range t.replace {
		_, name, _ := strings.Cut(filepath.ToSlash(file), "/y2025/")
		found[path.Dir(name)] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// students puts a tree's packages in the place of the project's. Tests of the tree are
// left out. A package that the tree lacks stays the project's.
func (t *transplant) students(src string) error {
	found := 0
	for _, l := range labs {
		files, err := goFiles(filepath.Join(src, filepath.FromSlash(l.dir)))
		if err != nil {
			return err
		}
		files = slices.DeleteFunc(files, func(name string) bool { return t.harness(src, l, name) })
		if len(files) == 0 {
			continue
		}
		found++
		if err := t.put(src, l.dir, files, func(name string) bool { return !strings.HasSuffix(name, "_test.go") }); err != nil {
			return err
		}
	}
	if found == 0 {
		return fmt.Errorf("%s has none of the packages of the 2025 edition, such as raft1", src)
	}
	for _, dir := range requests {
		files, err := goFiles(filepath.Join(src, filepath.FromSlash(dir)))
		if err != nil || len(files) == 0 {
			continue
		}
		if err := t.put(src, dir, files, func(string) bool { return true }); err != nil {
			return err
		}
	}
	return nil
}

// harness reports whether a file of a lab is a part of the course's harness: a test, or a
// file that imports package testing.
func (t *transplant) harness(src string, l lab, name string) bool {
	if strings.HasSuffix(name, "_test.go") {
		return true
	}
	text, err := os.ReadFile(filepath.Join(src, filepath.FromSlash(l.dir), name))
	return err == nil && !slices.Contains(l.files, name) && (strings.Contains(string(text), "\"testing\"") || name == "server.go")
}

// course puts a tree's tests and harness in the place of the project's.
func (t *transplant) course(src string) error {
	dirs, err := goDirs(src)
	if err != nil {
		return err
	}
	// The project's Persister takes the place of the course's, in the same file.
	if _, err := os.Stat(filepath.Join(src, "tester1", "persister.go")); err != nil {
		return fmt.Errorf("the tree has no package tester1 with a Persister: %w", err)
	}
	for _, dir := range dirs {
		if slices.Contains(ours, dir) {
			continue
		}
		files, err := goFiles(filepath.Join(src, filepath.FromSlash(dir)))
		if err != nil {
			return err
		}
		remove := func(string) bool { return true } // the course's package as a whole
		if i := slices.IndexFunc(labs, func(l lab) bool { return l.dir == dir }); i >= 0 {
			files = slices.DeleteFunc(files, func(name string) bool { return slices.Contains(labs[i].files, name) })
			remove = func(name string) bool { return strings.HasSuffix(name, "_test.go") }
		}
		if err := t.put(src, dir, files, remove); err != nil {
			return err
		}
	}
	return t.write("tester1", "persister.go", []byte(persister))
}

// persister takes the place of the course's Persister.
const persister = `package tester

import "raftlab/raft"

type Persister = raft.Persister

func MakePersister() *Persister { return raft.MakePersister() }
`

// put replaces those files of a package of y2025 for which remove is true by files of a
// tree.
func (t *transplant) put(src, dir string, files []string, remove func(name string) bool) error {
	have, err := goFiles(filepath.Join(t.root, "y2025", filepath.FromSlash(dir)))
	if err != nil {
		return err
	}
	for _, name := range have {
		if remove(name) {
			full, err := t.target(dir, name)
			if err != nil {
				return err
			}
			t.replace[full] = ""
		}
	}
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(src, filepath.FromSlash(dir), name))
		if err != nil {
			return err
		}
		if err := t.write(dir, name, []byte(imports.Replace(string(text)))); err != nil {
			return err
		}
	}
	return nil
}

// imports leads the import paths of the course to packages of this module.
var imports = strings.NewReplacer(
	`"6.5840/labrpc"`, `"raftlab/labrpc"`,
	`"6.5840/labgob"`, `"raftlab/labgob"`,
	`"6.5840/`, `"raftlab/y2025/`,
)

func (t *transplant) write(dir, name string, text []byte) error {
	full, err := t.target(dir, name)
	if err != nil {
		return err
	}
	to := filepath.Join(t.out, filepath.FromSlash(dir), name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	t.replace[full] = to
	return os.WriteFile(to, text, 0o644)
}

// target returns the path of a file of y2025, as the go command knows the file.
func (t *transplant) target(dir, name string) (string, error) {
	return filepath.Abs(filepath.Join(t.root, "y2025", filepath.FromSlash(dir), name))
}

// goFiles lists the Go files of a directory, which may be missing.
func goFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".go") {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// goDirs lists the directories with Go files below src, slash-separated, without programs
// and the labs of map and reduce.
func goDirs(src string) ([]string, error) {
	found := make(map[string]bool)
	err := filepath.WalkDir(src, func(name string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(src, name)
		rel = filepath.ToSlash(rel)
		switch first, _, _ := strings.Cut(rel, "/"); {
		case err != nil:
			return err
		case e.IsDir() && slices.Contains([]string{"main", "mr", "mrapps", ".git"}, first):
			return filepath.SkipDir
		case strings.HasSuffix(rel, ".go") && path.Dir(rel) != ".":
			found[path.Dir(rel)] = true
		}
		return nil
	})
	return slices.Sorted(maps.Keys(found)), err
}
