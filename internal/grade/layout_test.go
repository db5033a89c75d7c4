package grade

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testStd stands for the look into the Go tree.
func testStd(name string) bool {
	return slices.Contains(append(permittedPackages, "os", "testing", "unsafe"), name)
}

// assembled puts a submission into a work copy, and returns the copy's files.
func assembled(t *testing.T, files map[string]string) (*copyTree, map[string]string) {
	t.Helper()
	return assembledFor(t, &classic, files)
}

func assembledFor(t *testing.T, e *edition, files map[string]string) (*copyTree, map[string]string) {
	t.Helper()
	s := &source{files: make(map[string][]byte)}
	for name, src := range files {
		s.files[name] = []byte(src)
	}
	l, err := newLayout(s, e, testStd)
	require.NoError(t, err)
	dir := t.TempDir()
	c, err := assemble(l, dir)
	require.NoError(t, err)
	got := make(map[string]string)
	require.NoError(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		if !d.IsDir() {
			data, err := os.ReadFile(name)
			require.NoError(t, err)
			rel, err := filepath.Rel(dir, name)
			require.NoError(t, err)
			got[filepath.ToSlash(rel)] = string(data)
		}
		return nil
	}))
	return c, got
}

// A submission keeps its own files, and its imports lead to the copy's packages.
func TestAssemble(t *testing.T) {
	c, got := assembled(t, map[string]string{
		"hw/src/go.mod":                   "module 6.5840\n\ngo 1.22\n",
		"hw/src/raft/raft.go":             "package raft\n\nimport (\n\t\"6.5840/labrpc\"\n\t\"6.5840/util\"\n\tx \"6.5840/raft/logs\"\n)\n\nvar _ = util.X\nvar _ = x.Y\nvar _ labrpc.Network\n",
		"hw/src/raft/persister.go":        "package raft\n\nimport \"sync\"\n\n// Of the course.\ntype Persister struct{ mu sync.Mutex }\n\nfunc MakePersister() *Persister { return &Persister{} }\nfunc (ps *Persister) Copy() *Persister { return nil }\nfunc clone(b []byte) []byte { return b }\n",
		"hw/src/raft/config.go":           "package raft\n\nimport \"testing\"\n\ntype config struct{ t *testing.T }\n",
		"hw/src/raft/test_test.go":        "package raft\n",
		"hw/src/raft/zz_raftlab_guard.go": "package raft\n\nvar RaftOf = 1\n",
		"hw/src/raft/logs/logs.go":        "package logs\n\nvar Y int\n",
		"hw/src/util/util.go":             "package util\n\nimport _ \"6.5840/internal/testkit\"\n\nvar X int\n",
		"hw/src/internal/testkit/own.go":  "package testkit\n",
		"hw/src/labrpc/labrpc.go":         "package labrpc\n\nvar evil int\n",
		"hw/src/old/raft/raft.go":         "package raft\n\nvar old int\n",
		"hw/src/kvraft/server.go":         "package kvraft\n\nimport \"6.824/raft\"\n\ntype Server struct{ node *raft.Raft }\n\nfunc StartKVServer() *Server { return nil }\nfunc RaftOf() {}\n",
	})
	require.Equal(t, []string{"raft", "kvraft"}, c.submitted)
	raft := got["raft/raft.go"]
	for _, want := range []string{`"raftlab/labrpc"`, `"raftlab/util"`, `x "raftlab/raft/logs"`} {
		require.Contains(t, raft, want)
	}
	require.Contains(t, got["util/util.go"], `"raftlab/internal/submitted/testkit"`)
	require.Equal(t, "package testkit\n", got["internal/submitted/testkit/own.go"])
	require.NotContains(t, got["labrpc/network.go"], "evil")
	require.NotContains(t, got, "labrpc/labrpc.go")
	for _, left := range []string{"raft/config.go", "raft/test_test.go", "old/raft/raft.go"} {
		require.NotContains(t, got, left)
	}
	// The course's Persister is blank, and the rest of the file stays on its lines.
	own := got["raft/persister.go"]
	require.NotContains(t, own, "MakePersister")
	require.Equal(t, 10, strings.Count(own, "\n"))
	require.Contains(t, own, "func clone")
	require.Contains(t, got["raft/"+storeFile], "type Persister = ")
	require.Contains(t, got["internal/persister/persister.go"], "package persister")
	// Each submitted package imports the guard, and cannot replace it.
	for _, dir := range []string{"raft", "kvraft", "util", "raft/logs", "internal/submitted/testkit"} {
		require.Contains(t, got[dir+"/"+guardFile], `import _ "raftlab/internal/verdict"`, dir)
	}
	require.Contains(t, got["raft/submitted_zz_raftlab_guard.go"], "RaftOf = 1")
	// The suites watch each test, and reach the Raft of a server of any shape.
	require.Contains(t, got["raft/suite_2a_test.go"], "func TestInitialElection2A(t *testing.T) { raftlabWatch(t);")
	require.Contains(t, got["kvraft/"+exportFile], "func RaftOf_(kv *Server) *raft.Raft { return kv.node }")
	require.Contains(t, got["kvraft/suite_test.go"], "kvraft.RaftOf_(kv)")
	for _, want := range []string{
		"package raft is in directory hw/src/old/raft too, which is left out",
		"hw/src/raft/config.go is left out (part of a harness, because the file imports package testing)",
		"hw/src/raft/persister.go: the Persister of the laboratory takes the place of the submitted one",
		`import "6.824/raft" is raftlab/raft`,
	} {
		require.Contains(t, c.notes, want)
	}
}

// A package that is not submitted is the laboratory's, with everything that it imports.
func TestAssembleMissingPackage(t *testing.T) {
	c, got := assembled(t, map[string]string{"server.go": "package shardkv\n\nimport _ \"../shardctrler\"\n"})
	require.Equal(t, []string{"shardkv"}, c.submitted)
	require.Contains(t, c.notes, "package shardctrler is not submitted, and is the laboratory's")
	for _, dir := range []string{"rsm/", "raft/core/", "shardctrler/"} {
		require.True(t, slices.ContainsFunc(slices.Collect(maps.Keys(got)), func(name string) bool { return strings.HasPrefix(name, dir) }), dir)
	}
}

func TestNoLabPackage(t *testing.T) {
	_, err := newLayout(&source{files: map[string][]byte{"main.go": []byte("package main\n")}}, &classic, testStd)
	require.ErrorIs(t, err, ErrSubmission)
}

// The packages of the 2025 edition have the directories of the course's tree. Files of the
// course's harness are left out.
func TestAssemble2025(t *testing.T) {
	c, got := assembledFor(t, &of2025, map[string]string{
		"hw/src/go.mod":                 "module 6.5840\n\ngo 1.24\n",
		"hw/src/raft1/raft.go":          "package raft\n\nimport (\n\t\"6.5840/labrpc\"\n\t\"6.5840/raftapi\"\n\ttester \"6.5840/tester1\"\n\t\"6.5840/raft1/logs\"\n)\n\nvar _ = logs.Y\nvar _ tester.Persister\nvar _ labrpc.Network\nvar _ raftapi.Raft\n",
		"hw/src/raft1/logs/logs.go":     "package logs\n\nvar Y int\n",
		"hw/src/raft1/server.go":        "package raft\n\nvar evil int\n",
		"hw/src/raft1/raft_test.go":     "package raft\n",
		"hw/src/kvsrv1/server.go":       "package kvsrv\n\nimport \"6.5840/kvsrv1/rpc\"\n\nvar _ rpc.Err\n",
		"hw/src/kvsrv1/rpc/rpc.go":      "package rpc\n\ntype Err string\n",
		"hw/src/kvsrv1/lock/lock.go":    "package lock\n\nimport \"6.5840/kvtest1\"\n\nvar _ kvtest.IKVClerk\n",
		"hw/src/tester1/persister.go":   "package tester\n\nvar evil int\n",
		"hw/src/raft/raft.go":           "package raft\n\nvar old int\n",
		"hw/old/raft1/raft.go":          "package raft\n\nvar older int\n",
		"hw/src/shardkv1/shardgrp/a.go": "package shardgrp\n\nimport \"6.5840/shardkv1/shardgrp/shardrpc\"\n",
	})
	require.Equal(t, []string{"kvsrv1", "kvsrv1/lock", "kvsrv1/rpc", "raft1", "shardkv1/shardgrp"}, c.submitted)
	for _, want := range []string{`"raftlab/labrpc"`, `"raftlab/y2025/raftapi"`, `tester "raftlab/y2025/tester1"`, `"raftlab/y2025/raft1/logs"`} {
		require.Contains(t, got["y2025/raft1/raft.go"], want)
	}
	require.Contains(t, got["y2025/kvsrv1/server.go"], `"raftlab/y2025/kvsrv1/rpc"`)
	require.Equal(t, "package rpc\n\ntype Err string\n", got["y2025/kvsrv1/rpc/rpc.go"])
	require.Contains(t, got["y2025/kvsrv1/lock/lock.go"], `"raftlab/y2025/kvtest1"`)
	require.Contains(t, got["y2025/shardkv1/shardgrp/shardrpc/shardrpc.go"], "package shardrpc")
	for _, left := range []string{"y2025/raft1/server.go", "y2025/raft1/raft_test.go", "y2025/tester1/persister.go"} {
		require.NotContains(t, got, left)
	}
	require.NotContains(t, got["raft/raft.go"], "old")
	require.NotContains(t, got["y2025/raft1/raft.go"], "older")
	for _, dir := range []string{"y2025/raft1", "y2025/raft1/logs", "y2025/kvsrv1", "y2025/kvsrv1/rpc", "y2025/shardkv1/shardgrp"} {
		require.Contains(t, got[dir+"/"+guardFile], `import _ "raftlab/internal/verdict"`, dir)
	}
	// The suites of package raft judge raft1.
	require.NotContains(t, got["raft/suite_edition2025_test.go"], "go:build")
	require.Contains(t, got["raft/suite_2a_test.go"], "raftlabWatch(t);")
	require.Contains(t, got["y2025/kvsrv1/lock/"+mainFile], "package lock_test")
	require.NotContains(t, got, "y2025/kvraft1/"+mainFile)
}

// A submission of another edition is named as one.
func TestOtherEdition(t *testing.T) {
	s := &source{files: map[string][]byte{"src/raft1/raft.go": []byte("package raft1\n"), "src/kvsrv1/server.go": []byte("package kvsrv\n")}}
	_, err := newLayout(s, &classic, testStd)
	require.ErrorIs(t, err, ErrSubmission)
	require.ErrorContains(t, err, "src/kvsrv1 is of the edition 2025")
}

// The copies of the sources hold all that the suites and the lab packages import.
func TestSourcesAreComplete(t *testing.T) {
	for _, e := range editions {
		files := make(map[string]string)
		for _, l := range e.labs {
			files[l.name+"/x.go"] = "package " + l.clause + "\n"
		}
		_, got := assembledFor(t, e, files)
		complete(t, got)
	}
}

func complete(t *testing.T, got map[string]string) {
	t.Helper()
	for name, src := range got {
		for line := range strings.SplitSeq(src, "\n") {
			if _, after, ok := strings.Cut(line, `"raftlab/`); ok && strings.HasSuffix(name, ".go") && !strings.HasSuffix(after, "(") {
				pkg, _, ok := strings.Cut(after, `"`)
				if !ok || strings.ContainsAny(pkg, " %\\") || !strings.HasPrefix(strings.TrimSpace(line), `"raftlab/`) {
					continue
				}
				found := false
				for other := range got {
					found = found || strings.HasPrefix(other, pkg+"/")
				}
				require.True(t, found, "%s imports raftlab/%s, which is not in the copy", name, pkg)
			}
		}
	}
}

// Each test of the suites says what it checks, for docs and feedback.
func TestCatalogue(t *testing.T) {
	for _, e := range editions {
		catalogue(t, e)
	}
}

func catalogue(t *testing.T, e *edition) {
	t.Helper()
	tests, err := e.catalogue()
	require.NoError(t, err)
	parts := make(map[string]int)
	names := make(map[string]string)
	for _, test := range tests {
		parts[test.Part]++
		require.Empty(t, names[test.Name], "%s is in two packages", test.Name)
		names[test.Name] = test.Package
		require.NotEmpty(t, test.Doc, "%s has no doc comment", test.Name)
		require.False(t, strings.HasPrefix(test.Doc, "Test"), "%s: %s", test.Name, test.Doc)
	}
	for _, part := range e.parts() {
		require.Positive(t, parts[part], "part %s has no tests", part)
		require.NotEmpty(t, e.about[part])
	}
}

// A helper package that is missing is a mistake, which the compiler reports, and breaks no
// rule. A third party's package does, even if the student's module claims its name.
func TestMissingHelper(t *testing.T) {
	c, got := assembled(t, map[string]string{
		"src/go.mod":       "module golang.org\n",
		"src/raft/raft.go": "package raft\n\nimport (\n\t\"6.5840/util\"\n\t\"helpers\"\n\t\"github.com/a/b\"\n\t\"raftlab/internal/verdict\"\n\t\"golang.org/x/sys/unix\"\n)\n",
	})
	var found []string
	findings, err := inspectAll(t.Context(), false, c.inspected)
	require.NoError(t, err)
	for _, f := range findings {
		found = append(found, f.What)
	}
	require.Equal(t, []string{"imports package github.com/a/b", "imports package raftlab/internal/verdict"}, found)
	require.Contains(t, c.notes, `import "6.5840/util" leads nowhere: the submission has no such package`)
	for _, absent := range []string{"6.5840/util", "helpers", "golang.org/x/sys/unix"} {
		require.Contains(t, got["raft/raft.go"], `"raftlab/not-submitted/`+absent+`"`)
	}
}

// A file that the go command would not compile is left out, and breaks no rule. It may belong
// to another package, and need not even be Go.
func TestIgnoredFile(t *testing.T) {
	c, got := assembled(t, map[string]string{
		"src/raft/raft.go":         "package raft\n",
		"src/raft/fast_linux.go":   "//go:build go1.18 && !debug\n\npackage raft\n",
		"src/raft/zz.go":           "//go:build ignore\n\npackage main\n\nfunc main() { broken( }\n",
		"src/raft/disk_windows.go": "package raft\n\nimport _ \"golang.org/x/sys/windows\"\n",
		"src/raft/debug.go":        "// +build debug\n\npackage raft\n\nimport _ \"net/http/pprof\"\n",
	})
	require.Contains(t, got["raft/"+guardFile], "package raft\n")
	require.Contains(t, got, "raft/fast_linux.go")
	for _, name := range []string{"zz.go", "disk_windows.go", "debug.go"} {
		require.NotContains(t, got, "raft/"+name)
		require.Contains(t, c.notes, "src/raft/"+name+" is left out (a build constraint excludes the file on linux/amd64)")
	}
	findings, err := inspectAll(t.Context(), false, c.inspected)
	require.NoError(t, err)
	require.Empty(t, findings)
}

// Of two trees with the packages, the one with the most of them counts, and then the one in
// a directory src.
func TestOlderCopies(t *testing.T) {
	packages := func(trees map[string][]string) map[string]string {
		files := make(map[string]string)
		for tree, names := range trees {
			for _, name := range names {
				files[tree+"/"+name+"/"+name+".go"] = "package " + name + "\n\nvar _ = \"" + tree + "\"\n"
			}
		}
		return files
	}
	both := []string{"raft", "shardctrler"}
	for _, trees := range []map[string][]string{
		{"repo/src": both, "repo/backup": both},
		{"repo/src": both, "backup": {"raft"}},
		{"repo/src": both, "a": {"shardctrler"}, "b": {"raft"}},
		{"repo/src": both, "old/repo/src": both},
	} {
		_, got := assembled(t, packages(trees))
		for _, name := range both {
			require.Contains(t, got[name+"/"+name+".go"], `"repo/src"`, "of %v", trees)
		}
	}
}

// In the 2025 edition, too, a copy of the tree does not count beside the one in a directory src.
func TestOlderCopies2025(t *testing.T) {
	files := make(map[string]string)
	for _, tree := range []string{"backup", "src"} {
		for name, clause := range map[string]string{"raft1": "raft", "kvraft1": "kvraft", "kvraft1/rsm": "rsm"} {
			files[tree+"/"+name+"/"+clause+".go"] = "package " + clause + "\n\nvar _ = \"" + tree + "\"\n"
		}
	}
	_, got := assembledFor(t, &of2025, files)
	for _, file := range []string{"raft1/raft.go", "kvraft1/kvraft.go", "kvraft1/rsm/rsm.go"} {
		require.Contains(t, got["y2025/"+file], `"src"`, file)
	}
}

// Habits of students that would clash with the harness leave a submission that compiles.
func TestHabits(t *testing.T) {
	c, got := assembled(t, map[string]string{
		"src/go.mod":                "module github.com/student/labs\n",
		"src/raft/raft.go":          "package raft\n\nimport (\n\t\"sync\"\n\n\t\"github.com/student/labs/kvraft/models\"\n)\n\ntype (\n\t// Persister of my own.\n\tPersister struct {\n\t\tmu sync.Mutex\n\t}\n\tEntry struct{ Op models.Op }\n)\n\nvar persister int\n",
		"src/kvraft/server.go":      "package kvraft\n\nimport \"../raft\"\n\ntype KVServer struct{ *raft.Raft }\n\nfunc StartKVServer() *KVServer { return nil }\n\nvar (\n\tother, RaftOf = 1, 2\n)\n",
		"src/kvraft/models/op.go":   "package models\n\ntype Op struct{}\n",
		"src/models/kv.go":          "package models\n\nvar evil int\n",
		"src/shardkv/server.go":     "package shardkv\n\nimport _ \"github.com/student/labs/models\"\n\ntype ShardKV struct{}\n\nfunc StartServer() *ShardKV { return nil }\n\ntype RaftOf_ int\n",
		"src/shardctrler/server.go": "package shardctrler\n\nconst RaftOf__ = 1\n",
	})
	require.NotContains(t, got["raft/raft.go"], "mu sync.Mutex")
	require.Contains(t, got["raft/raft.go"], "\tEntry struct{ Op models.Op }\n)\n")
	require.Contains(t, got["raft/raft.go"], `_ "sync"`)
	require.Contains(t, got["raft/raft.go"], `"raftlab/kvraft/models"`)
	require.Equal(t, "package models\n\ntype Op struct{}\n", got["kvraft/models/op.go"])
	require.Contains(t, got["shardkv/server.go"], `"raftlab/porcupine/models"`, "the harness's own package is the laboratory's")
	require.Contains(t, got["kvraft/"+exportFile], "func RaftOf___(kv *KVServer) *raft.Raft { return kv.Raft }")
	require.Contains(t, got["kvraft/"+exportFile], `import raft "raftlab/raft"`)
	require.Contains(t, got["raft/"+storeFile], `import persister_ "raftlab/internal/persister"`)
	require.Contains(t, c.notes, "src/raft/raft.go: the Persister of the laboratory takes the place of the submitted one")
}

// An import of a lab package's directory is the package, whatever the directory's name.
func TestOtherDirectoryNames(t *testing.T) {
	_, got := assembled(t, map[string]string{
		"Lab-2/raft.go":   "package raft\n",
		"Lab-3/server.go": "package kvraft\n\nimport \"../Lab-2\"\n\ntype KVServer struct{ rf *raft.Raft }\n",
	})
	require.Contains(t, got["kvraft/server.go"], `import "raftlab/raft"`)
	require.NotContains(t, got, "Lab-2/raft.go")
}
