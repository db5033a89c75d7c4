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

// TestSuitesNeedOnlyTheLabAPI compiles each lab's suites against a package with only
// the lab's names, such as a student's package. The packages that import the lab's
// package and their tests must compile as well.
func TestSuitesNeedOnlyTheLabAPI(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command")
	}
	for pkg, users := range map[string][]string{
		"raft":        {"./raft", "./rsm/...", "./kvraft", "./shardctrler", "./shardkv"},
		"kvraft":      {"./kvraft"},
		"shardctrler": {"./shardctrler", "./internal/shardlab"},
		"shardkv":     {"./shardkv"},
	} {
		t.Run(pkg, func(t *testing.T) {
			t.Parallel()
			overlay := filepath.Join(t.TempDir(), "overlay.json")
			data, err := json.Marshal(map[string]any{"Replace": withLabAPI(t, pkg)})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(overlay, data, 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("go", append([]string{"vet", "-overlay", overlay}, users...)...)
			cmd.Dir = filepath.Join("..", "..")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("the suites use more than the lab's API: %v\n%s", err, out)
			}
		})
	}
}

// withLabAPI returns an overlay of a package. The overlay keeps the files that grade
// any implementation, and replaces the other files by one with the lab's names.
func withLabAPI(t *testing.T, pkg string) map[string]string {
	dir := filepath.Join("..", "..", pkg)
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	replace := make(map[string]string)
	for _, file := range files {
		if !grades(filepath.Base(file)) {
			replace[abs(t, file)] = "" // removed
		}
	}
	if len(replace) == len(files) {
		t.Fatalf("no suites in %s", dir)
	}
	replace[abs(t, filepath.Join(dir, "doc.go"))] = abs(t, filepath.Join("testdata", pkg+".go.txt"))
	return replace
}

// grades reports whether a file of a lab's package grades any implementation.
func grades(name string) bool {
	for _, prefix := range []string{"suite_", "adversary_", "random_test", "export_test"} {
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
