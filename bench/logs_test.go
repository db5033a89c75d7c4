package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	original "github.com/anishathalye/porcupine"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// testData returns the folder of the original's recorded histories.
func testData(t testing.TB) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/anishathalye/porcupine").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "test_data")
}

var kvLine = regexp.MustCompile(`^{:process (\d+), :type :(invoke|ok), :f :(get|put|append), :key "(.*)", :value (?:nil|"(.*)")}$`)

// kvLog reads a history of models.KV.
func kvLog(t testing.TB, path string) []porcupine.Event {
	ops := map[string]models.KVOp{"get": models.KVGet, "put": models.KVPut, "append": models.KVAppend}
	var history []porcupine.Event
	open := make(map[string]int)
	for i, line := range lines(t, path) {
		f := kvLine.FindStringSubmatch(line)
		if f == nil {
			t.Fatalf("%s:%d: %s", path, i+1, line)
		}
		if f[2] == "invoke" {
			open[f[1]] = len(history)
			history = append(history, porcupine.Event{Kind: porcupine.CallEvent, ClientId: atoi(f[1]), Id: len(history),
				Value: models.KVInput{Op: ops[f[3]], Key: f[4], Value: f[5]}})
			continue
		}
		out := models.KVOutput{}
		if f[3] == "get" {
			out.Value = f[5]
		}
		history = append(history, porcupine.Event{Kind: porcupine.ReturnEvent, ClientId: atoi(f[1]), Id: open[f[1]], Value: out})
		delete(open, f[1])
	}
	return history
}

func lines(t testing.TB, path string) []string {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []string
	for s := bufio.NewScanner(f); s.Scan(); {
		all = append(all, s.Text())
	}
	return all
}

func atoi(s string) (n int) {
	fmt.Sscan(s, &n)
	return n
}

// theirs converts a model and a history to types of the original.
func theirs(m porcupine.Model, history []porcupine.Operation) (original.Model, []original.Operation) {
	model := original.Model{Init: m.Init, Step: stepUnknown(m), Equal: m.Equal, Hash: m.Hash}
	model.Partition = func(history []original.Operation) [][]original.Operation {
		var parts [][]original.Operation
		for _, part := range m.Partition(ours(history)) {
			parts = append(parts, convert(part))
		}
		return parts
	}
	if m.Partition == nil {
		model.Partition = nil
	}
	return model, convert(history)
}

// stepUnknown is Step where a nil output means "unknown", because the original has no pending
// operations.
func stepUnknown(m porcupine.Model) func(state, input, output any) (bool, any) {
	return func(state, input, output any) (bool, any) {
		if output != nil {
			return m.Step(state, input, output)
		}
		if next := m.StepPending(state, input); len(next) > 0 {
			return true, next[0]
		}
		return true, state
	}
}

func convert(history []porcupine.Operation) []original.Operation {
	result := make([]original.Operation, len(history))
	for i, o := range history {
		result[i] = original.Operation{ClientId: o.ClientId, Input: o.Input, Output: o.Output, Call: o.Call, Return: o.Return}
	}
	return result
}

func ours(history []original.Operation) []porcupine.Operation {
	result := make([]porcupine.Operation, len(history))
	for i, o := range history {
		result[i] = porcupine.Operation{ClientId: o.ClientId, Input: o.Input, Output: o.Output, Call: o.Call, Return: o.Return}
	}
	return result
}

func kvLogs(t testing.TB) []string {
	paths, err := filepath.Glob(filepath.Join(testData(t), "kv", "*.txt"))
	if err != nil || len(paths) == 0 {
		t.Fatal("no recorded histories: ", err)
	}
	return paths
}

// TestRecordedKV checks the original's recorded histories of a key/value store.
func TestRecordedKV(t *testing.T) {
	for _, path := range kvLogs(t) {
		want := strings.HasSuffix(path, "-ok.txt")
		history := kvLog(t, path)
		for _, m := range []porcupine.Model{models.KV, workload.Opaque(models.KV)} {
			if got := porcupine.CheckEvents(m, history); got != want {
				t.Errorf("%s: %v, want %v", filepath.Base(path), got, want)
			}
		}
	}
}

func BenchmarkRecordedKV(b *testing.B) {
	for _, path := range kvLogs(b) {
		history := kvLog(b, path)
		for name, m := range map[string]porcupine.Model{"hinted": models.KV, "opaque": workload.Opaque(models.KV)} {
			b.Run(filepath.Base(path)+"/"+name, func(b *testing.B) {
				for b.Loop() {
					porcupine.CheckEvents(m, history)
				}
			})
			b.Run(filepath.Base(path)+"/"+name+"-verbose", func(b *testing.B) {
				for b.Loop() {
					porcupine.CheckEventsVerbose(m, history, 0)
				}
			})
		}
	}
}
