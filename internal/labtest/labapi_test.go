//go:build !wasip1

package labtest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// suites are the files of package raft that grade any implementation.
var suites = []string{"suite_", "adversary_", "random_"}

// TestSuitesNeedOnlyTheLabAPI compiles the suites, this package, and what stands
// on Raft with its tests, against a package raft with nothing but the lab's
// names, as a student's has it.
func TestSuitesNeedOnlyTheLabAPI(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command")
	}
	dir := filepath.Join("..", "..", "raft")
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	replace := make(map[string]string)
	kept := 0
	for _, file := range files {
		if isSuite(filepath.Base(file)) {
			kept++
			continue
		}
		replace[abs(t, file)] = "" // not there
	}
	if kept < 5 {
		t.Fatalf("only %d files of the suites in %s", kept, dir)
	}
	replace[abs(t, filepath.Join(dir, "raft.go"))] = abs(t, filepath.Join("testdata", "labapi.go.txt"))
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, data, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "vet", "-overlay", overlay, "./raft", "./rsm/...", "./kvraft", "./shardctrler", "./shardkv")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the suites use more than the lab's API: %v\n%s", err, out)
	}
}

func isSuite(name string) bool {
	for _, prefix := range suites {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func abs(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}
