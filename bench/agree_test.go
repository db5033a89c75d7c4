package bench

import (
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	original "github.com/anishathalye/porcupine"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// TestSameAnswers compares the answers of the two packages on histories of moderate size. Some of
// them are illegal.
func TestSameAnswers(t *testing.T) {
	legal := map[bool]int{}
	for seed := range uint64(200) {
		shape := workload.Shape{Operations: 60, Clients: 2 + int(seed%4), Keys: 1 + int(seed%3), Seed: seed}
		history := workload.KV(shape, 2, 1, 1)
		if seed%2 == 1 {
			workload.StaleRead(history)
		}
		model, theirHistory := theirs(models.KV, history)
		want := original.CheckOperations(model, theirHistory)
		legal[want]++
		for name, m := range map[string]porcupine.Model{"hinted": models.KV, "opaque": workload.Opaque(models.KV)} {
			if got := porcupine.CheckOperations(m, history); got != want {
				t.Errorf("seed %d, %s: %v, want %v", seed, name, got, want)
			}
		}
	}
	if legal[true] < 20 || legal[false] < 20 {
		t.Errorf("legal and illegal: %v: no fair sample", legal)
	}
}

// TestSameAnswersAtTheLimits compares the answers on small histories with least, greatest and equal
// times, and with concurrent operations of one client.
func TestSameAnswersAtTheLimits(t *testing.T) {
	times := []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1}
	values := []string{"", "a", "b", "ab"}
	legal := map[bool]int{}
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 0))
		var history []porcupine.Operation
		for range r.IntN(7) {
			call, ret := times[r.IntN(len(times))], times[r.IntN(len(times))]
			in := models.KVInput{Op: models.KVOp(r.IntN(3)), Key: values[r.IntN(2)], Value: values[r.IntN(len(values))]}
			history = append(history, porcupine.Operation{ClientId: r.IntN(2), Call: min(call, ret), Return: max(call, ret),
				Input: in, Output: models.KVOutput{Value: values[r.IntN(2)*r.IntN(len(values))]}})
		}
		model, theirHistory := theirs(models.KV, history)
		want := original.CheckOperations(model, theirHistory)
		legal[want]++
		for name, m := range map[string]porcupine.Model{"hinted": models.KV, "opaque": workload.Opaque(models.KV)} {
			result, info := porcupine.CheckOperationsVerbose(m, history, 0)
			if (result == porcupine.Ok) != want {
				t.Errorf("seed %d, %s: %v, want %v: %+v", seed, name, result, want, history)
			}
			if seed%50 == 0 {
				if err := porcupine.Visualize(m, info, io.Discard); err != nil {
					t.Errorf("seed %d, %s: %v", seed, name, err)
				}
			}
		}
	}
	if legal[true] < 500 || legal[false] < 500 {
		t.Errorf("legal and illegal: %v: no fair sample", legal)
	}
}

var jepsenLine = regexp.MustCompile(`^INFO\s+jepsen\.util\s+-\s+(\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(?:nil|:timed-out|(\d+)|\[(\d+) (\d+)\])$`)

// jepsenLog reads a history of models.CASRegister. An operation that timed out is pending. A pending
// read has no effect.
func jepsenLog(t testing.TB, path string) []porcupine.Event {
	ops := map[string]models.RegisterOp{"read": models.RegisterRead, "write": models.RegisterWrite, "cas": models.RegisterCAS}
	var history []porcupine.Event
	open := make(map[string]int)
	for _, line := range lines(t, path) {
		f := jepsenLine.FindStringSubmatch(line)
		if f == nil {
			continue
		}
		if f[2] == "invoke" {
			in := models.RegisterInput{Op: ops[f[3]]}
			switch f[3] {
			case "write":
				in.Value = atoi(f[4])
			case "cas":
				in.Expect, in.Value = atoi(f[5]), atoi(f[6])
			}
			open[f[1]] = len(history)
			history = append(history, porcupine.Event{Kind: porcupine.CallEvent, ClientId: atoi(f[1]), Id: len(history), Value: in})
			continue
		}
		if f[2] == "info" || f[2] == "fail" && f[3] != "cas" || strings.HasSuffix(line, ":timed-out") {
			delete(open, f[1])
			continue
		}
		out := models.RegisterOutput{OK: f[2] == "ok"}
		if f[3] == "read" && f[4] != "" {
			out.Value = atoi(f[4])
		}
		id, ok := open[f[1]]
		if !ok {
			t.Fatalf("%s: a return without a call: %s", path, line)
		}
		delete(open, f[1])
		history = append(history, porcupine.Event{Kind: porcupine.ReturnEvent, ClientId: atoi(f[1]), Id: id, Value: out})
	}
	return history
}

// TestRecordedEtcd checks the recorded histories of an etcd register. The original has no pending
// operations, so its history has outputs that mean "unknown".
func TestRecordedEtcd(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(testData(t), "jepsen", "*.log"))
	if err != nil || len(paths) < 100 {
		t.Fatalf("%d recorded histories: %v", len(paths), err)
	}
	etcd := original.Model{Init: models.CASRegister.Init, Step: stepUnknown(models.CASRegister)}
	legal := map[bool]int{}
	for _, path := range paths {
		history := jepsenLog(t, path)
		want := original.CheckEvents(etcd, closed(history))
		legal[want]++
		for name, m := range map[string]porcupine.Model{"hinted": models.CASRegister, "opaque": workload.Opaque(models.CASRegister)} {
			if got := porcupine.CheckEvents(m, history); got != want {
				t.Errorf("%s, %s: %v, want %v", filepath.Base(path), name, got, want)
			}
		}
	}
	t.Logf("legal and illegal: %v", legal)
}

// closed adds a return to every pending call, at the end.
func closed(history []porcupine.Event) []original.Event {
	var result []original.Event
	returned := make(map[int]bool)
	add := func(e porcupine.Event) {
		result = append(result, original.Event{ClientId: e.ClientId, Kind: original.EventKind(e.Kind), Value: e.Value, Id: e.Id})
	}
	for _, e := range history {
		returned[e.Id] = returned[e.Id] || e.Kind == porcupine.ReturnEvent
		add(e)
	}
	for _, e := range history {
		if !returned[e.Id] {
			add(porcupine.Event{ClientId: e.ClientId, Kind: porcupine.ReturnEvent, Id: e.Id})
		}
	}
	return result
}
