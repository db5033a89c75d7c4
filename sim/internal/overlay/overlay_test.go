package overlay_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/sim/internal/overlay"
)

// goroot copies the edited directories, so that a test can damage the copies.
func goroot(t *testing.T) string {
	t.Helper()
	if !slices.Contains(overlay.Tested(), runtime.Version()) {
		t.Skipf("the edits are for %v, not %s", overlay.Tested(), runtime.Version())
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("no go command here: ", err)
	}
	from, to := filepath.Join(strings.TrimSpace(string(out)), "src"), t.TempDir()
	for _, dir := range []string{"runtime", "sync", "sync/atomic", "syscall", "net", "os", "crypto/internal/sysrand"} {
		entries, err := os.ReadDir(filepath.Join(from, dir))
		if errors.Is(err, fs.ErrNotExist) {
			t.Skip("no source of the Go tree here")
		}
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Join(to, "src", dir), 0o755))
		for _, e := range entries {
			if e.IsDir() || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			data, err := os.ReadFile(filepath.Join(from, dir, e.Name()))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(to, "src", dir, e.Name()), data, 0o644))
		}
	}
	return to
}

func TestGenerate(t *testing.T) {
	root, dir := goroot(t), t.TempDir()
	list, err := overlay.Generate(root, dir)
	require.NoError(t, err)
	data, err := os.ReadFile(list)
	require.NoError(t, err)
	var lists struct{ Replace map[string]string }
	require.NoError(t, json.Unmarshal(data, &lists))
	for from, to := range lists.Replace {
		if !strings.HasPrefix(from, root) {
			t.Errorf("%s is not in the Go tree", from)
		}
		require.FileExists(t, to)
	}
	again, err := overlay.Generate(root, dir)
	require.NoError(t, err)
	require.Equal(t, list, again, "generated again")
}

// TestTreesHaveListsOfTheirOwn generates overlays for two trees with the same
// source. A list names the files of one tree, so each tree needs a list.
func TestTreesHaveListsOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	one, err := overlay.Generate(goroot(t), dir)
	require.NoError(t, err)
	if other, err := overlay.Generate(goroot(t), dir); err != nil || other == one {
		t.Errorf("two trees share %s (%v)", one, err)
	}
}

// TestSupports checks tested versions and the patch releases between them.
func TestSupports(t *testing.T) {
	for v, want := range map[string]bool{
		"go1.26.0": true, "go1.26.5": true, "go1.26.8": true, "go1.25.7": true,
		"go1.24.13": false, "go1.26rc1": false, "go1.26.99": false, "go1.99.0": false, "devel go1.27-abc": false, "": false,
	} {
		if got := overlay.Supports(v); got != want {
			t.Errorf("Supports(%q) = %v", v, got)
		}
	}
}

// TestMismatchIsRefused removes or changes each edited file, and expects an
// error.
func TestMismatchIsRefused(t *testing.T) {
	root := goroot(t)
	for file, anchor := range map[string]string{
		"runtime/rand.go":  "c := &mp.chacha8",
		"runtime/proc.go":  "const randomizeScheduler",
		"runtime/time.go":  "return time_now()",
		"sync/mutex.go":    "m.mu.Unlock()",
		"runtime/sema.go":  "s.ticket = cheaprand()",
		"runtime/debug.go": "int(numCPUStartup)",
	} {
		path := filepath.Join(root, "src", file)
		good, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, spoilt := range []string{strings.ReplaceAll(string(good), anchor, "changed"), string(good) + string(good)} {
			os.WriteFile(path, []byte(spoilt), 0o644)
			if _, err := overlay.Generate(root, t.TempDir()); !errors.Is(err, overlay.ErrMismatch) || !strings.Contains(err.Error(), file) {
				t.Errorf("%s was spoilt: error %v", file, err)
			}
		}
		os.Remove(path)
		if _, err := overlay.Generate(root, t.TempDir()); !errors.Is(err, overlay.ErrMismatch) {
			t.Errorf("%s is missing: error %v", file, err)
		}
		os.WriteFile(path, good, 0o644)
	}
}
