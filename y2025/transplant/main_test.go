//go:build !wasip1

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
)

// tree writes files below a new directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	src := t.TempDir()
	for name, text := range files {
		full := filepath.Join(src, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(t, os.WriteFile(full, []byte(text), 0o644))
	}
	return src
}

// plan returns the replacements of a transplant by their paths below y2025. The value is
// the text of the new file, or "removed".
func plan(t *testing.T, do func(*transplant) error) map[string]string {
	t.Helper()
	tr := &transplant{root: filepath.Join("..", ".."), out: t.TempDir(), replace: make(map[string]string)}
	require.NoError(t, do(tr))
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	got := make(map[string]string)
	for file, by := range tr.replace {
		name, err := filepath.Rel(root, file)
		require.NoError(t, err)
		got[filepath.ToSlash(name)] = "removed"
		if by != "" {
			text, err := os.ReadFile(by)
			require.NoError(t, err)
			got[filepath.ToSlash(name)] = string(text)
		}
	}
	return got
}

// A student's packages replace the project's, with other import paths. Tests and the
// course's harness are left out, and packages of the harness stay the project's.
func TestStudents(t *testing.T) {
	src := tree(t, map[string]string{
		"kvsrv1/client.go":       "package kvsrv\n\nimport (\n\t\"6.5840/kvsrv1/rpc\"\n\t\"6.5840/labrpc\"\n)\n",
		"kvsrv1/helper.go":       "package kvsrv\n",
		"kvsrv1/test.go":         "package kvsrv\n\nimport \"testing\"\n",
		"kvsrv1/kvsrv_test.go":   "package kvsrv\n",
		"kvsrv1/rpc/rpc.go":      "package rpc\n",
		"tester1/persister.go":   "package tester\n",
		"shardkv1/shardgrp/x.go": "package shardgrp\n",
	})
	require.Equal(t, map[string]string{
		"kvsrv1/client.go":            "package kvsrv\n\nimport (\n\t\"raftlab/y2025/kvsrv1/rpc\"\n\t\"raftlab/labrpc\"\n)\n",
		"kvsrv1/server.go":            "removed",
		"kvsrv1/helper.go":            "package kvsrv\n",
		"kvsrv1/rpc/rpc.go":           "package rpc\n",
		"shardkv1/shardgrp/x.go":      "package shardgrp\n",
		"shardkv1/shardgrp/client.go": "removed",
		"shardkv1/shardgrp/server.go": "removed",
		"shardkv1/shardgrp/shard.go":  "removed",
	}, plan(t, func(tr *transplant) error {
		err := tr.students(src)
		require.Equal(t, []string{"kvsrv1", "kvsrv1/rpc", "shardkv1/shardgrp"}, tr.packages())
		return err
	}))
}

// courseTree is a small course with a harness of its own.
var courseTree = map[string]string{
	"main/main.go":         "package main\n",
	"labrpc/labrpc.go":     "package labrpc\n",
	"raftapi/raftapi.go":   "package raftapi\n",
	"tester1/persister.go": "package tester\n\ntype Persister struct{}\n",
	"tester1/tester.go": `package tester

import (
	"fmt"

	"6.5840/labrpc"
)

type Tgid int

const GRP0 = Tgid(0)

func ServerName(gid Tgid, i int) string { return fmt.Sprint(gid, "/", i) }

type IService interface{ Kill() }

type Clnt struct{ End *labrpc.ClientEnd }

func (c *Clnt) Call(server, method string, args any, reply any) bool {
	return c.End.Call(method, args, reply)
}

func Randstring(n int) string { return "random" }
`,
	"kvsrv1/server.go": "package kvsrv\n",
	"kvsrv1/client.go": "package kvsrv\n",
	"kvsrv1/kvsrv_test.go": `package kvsrv

import (
	"testing"

	"6.5840/kvsrv1/rpc"
	"6.5840/labrpc"
	"6.5840/tester1"
)

func TestCourse(t *testing.T) {
	net := labrpc.MakeNetwork()
	defer net.Cleanup()
	services := StartKVServer(nil, tester.GRP0, 0, tester.MakePersister())
	server := labrpc.MakeServer()
	server.AddService(labrpc.MakeService(services[0]))
	net.AddServer("s", server)
	clnt := &tester.Clnt{End: net.MakeEnd("e")}
	net.Connect("e", "s")
	net.Enable("e", true)
	if err := MakeClerk(clnt, "s").Put("k", "v", 0); err != rpc.OK {
		t.Fatal(err)
	}
}
`,
}

// A course's tests and harness replace the project's. The project's packages stay, and so
// do the packages whose types belong to the project's Raft.
func TestCourse(t *testing.T) {
	src := tree(t, courseTree)
	got := plan(t, func(tr *transplant) error { return tr.course(src) })
	require.Equal(t, persister, got["tester1/persister.go"])
	require.Contains(t, got["kvsrv1/kvsrv_test.go"], "\"raftlab/y2025/tester1\"")
	require.Equal(t, "removed", got["kvsrv1/suite_test.go"])
	require.Contains(t, got["tester1/tester.go"], "Randstring")
	require.Len(t, got, 4, "%v", got)
}

// The course's test runs on the project's server.
func TestCourseRuns(t *testing.T) {
	if !testkit.Soak() {
		t.Skip("builds packages; RAFTLAB_SOAK=1 runs the test")
	}
	out := t.TempDir()
	src := tree(t, courseTree)
	t.Chdir(filepath.Join("..", ".."))
	require.NoError(t, run("", src, out))
	cmd := exec.Command("go", "test", "-overlay", filepath.Join(out, "overlay.json"), "-run", "TestCourse", "-v", "./y2025/kvsrv1")
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", text)
	require.Contains(t, string(text), "--- PASS: TestCourse")
}

// A tree without packages of the edition is an error, and so are both trees or none.
func TestErrors(t *testing.T) {
	empty := t.TempDir()
	require.ErrorContains(t, run(empty, "", t.TempDir()), "has none of the packages")
	require.ErrorContains(t, run("", empty, t.TempDir()), "has no package tester1")
	require.ErrorContains(t, run("", "", t.TempDir()), "name one tree")
	require.ErrorContains(t, run(empty, empty, t.TempDir()), "name one tree")
	require.ErrorContains(t, run(empty, "", ""), "name one tree")
}
