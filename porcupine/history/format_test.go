package history_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
	"raftlab/porcupine/history"
	"raftlab/porcupine/models"
)

// wellFormed is an operation as its line has it: the fields that the line needs, with a good
// value each, and those that it may have.
type wellFormed struct {
	model, op string
	needs     map[string]string
	may       map[string]string
}

// wellFormedOps holds every op of every model.
var wellFormedOps = []wellFormed{
	{"kv", "get", map[string]string{"key": `"k"`, "output": `"v"`}, nil},
	{"kv", "put", map[string]string{"key": `"k"`, "value": `"v"`}, nil},
	{"kv", "append", map[string]string{"key": `"k"`, "value": `"v"`}, nil},
	{"register", "read", map[string]string{"output": `1`}, map[string]string{"key": `"k"`}},
	{"register", "write", map[string]string{"value": `1`}, map[string]string{"key": `"k"`}},
	{"cas", "read", map[string]string{"output": `1`}, map[string]string{"key": `"k"`}},
	{"cas", "write", map[string]string{"value": `1`}, map[string]string{"key": `"k"`}},
	{"cas", "cas", map[string]string{"expect": `1`, "value": `2`, "output": `true`}, map[string]string{"key": `"k"`}},
	{"queue", "push", map[string]string{"key": `"q"`, "value": `"v"`}, nil},
	{"queue", "pop", map[string]string{"key": `"q"`, "output": `"v"`}, nil},
	{"queue", "peek", map[string]string{"key": `"q"`, "output": `"v"`}, nil},
	{"set", "add", map[string]string{"key": `"s"`, "value": `"v"`, "output": `true`}, nil},
	{"set", "remove", map[string]string{"key": `"s"`, "value": `"v"`, "output": `true`}, nil},
	{"set", "contains", map[string]string{"key": `"s"`, "value": `"v"`, "output": `true`}, nil},
	{"set", "read", map[string]string{"key": `"s"`, "output": `["v"]`}, nil},
	{"lock", "acquire", map[string]string{"key": `"l"`, "output": `true`}, map[string]string{"value": `"me"`}},
	{"lock", "release", map[string]string{"key": `"l"`, "output": `true`}, map[string]string{"value": `"me"`}},
	{"list", "append", map[string]string{"key": `"l"`, "value": `"v"`}, nil},
	{"list", "read", map[string]string{"key": `"l"`, "output": `["v"]`}, nil},
	{"store", "scan", map[string]string{"output": `{"k":"v"}`}, nil},
}

func init() {
	for _, model := range []string{"versioned", "store"} {
		wellFormedOps = append(wellFormedOps,
			wellFormed{model, "get", map[string]string{"key": `"k"`, "output": `{"ok":true,"value":"v","version":1}`}, nil},
			wellFormed{model, "put", map[string]string{"key": `"k"`, "value": `"v"`, "output": `1`}, nil},
			wellFormed{model, "append", map[string]string{"key": `"k"`, "value": `"v"`, "output": `1`}, nil},
			wellFormed{model, "delete", map[string]string{"key": `"k"`, "output": `true`}, nil},
			wellFormed{model, "cas", map[string]string{"key": `"k"`, "value": `"v"`, "output": `{"ok":true,"version":1}`}, map[string]string{"version": `1`}})
	}
}

// line writes the fields with an op, a call and a return.
func (w wellFormed) line(fields map[string]string, returned bool) string {
	text := fmt.Sprintf(`{"op":%q,"call":1`, w.op)
	if returned {
		text += `,"return":2`
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		text += fmt.Sprintf(`,%q:%s`, name, fields[name])
	}
	return text + "}"
}

// requireBad requires the error of a bad second line, with a text that the error has.
func requireBad(t *testing.T, model, good, line, want string) {
	t.Helper()
	_, err := history.Read(strings.NewReader(good+"\n"+line), model)
	require.ErrorIs(t, err, history.ErrFormat, "%s: %s", model, line)
	require.ErrorContains(t, err, "line 2: ", line)
	require.ErrorContains(t, err, want, line)
}

// TestFieldsOfEveryOp leaves out and spoils each field of each op.
func TestFieldsOfEveryOp(t *testing.T) {
	accepted := map[string]map[string]string{ // values of other types that an op has a use for
		"kv get output":        {"null": "absent"},
		"queue pop output":     {"null": "empty"},
		"queue peek output":    {"null": "empty"},
		"store scan output":    {"{}": "empty"},
		"set read output":      {"[]": "empty"},
		"list read output":     {"[]": "empty"},
		"versioned put output": {"0": "not told"},
	}
	tested := make(map[string]bool)
	for _, w := range wellFormedOps {
		tested[w.model] = true
		everything := maps.Clone(w.needs)
		maps.Copy(everything, w.may)
		good := w.line(everything, true)
		pending := maps.Clone(w.needs)
		delete(pending, "output")
		for _, text := range []string{good, w.line(w.needs, true), w.line(pending, false)} {
			_, err := history.Read(strings.NewReader(text), w.model)
			require.NoError(t, err, text)
		}
		for name := range w.needs {
			without := maps.Clone(everything)
			delete(without, name)
			requireBad(t, w.model, good, w.line(without, true), name)
		}
		for _, name := range []string{"key", "value", "expect", "version", "output"} {
			if everything[name] == "" {
				extra := maps.Clone(everything)
				extra[name] = `"surplus"`
				requireBad(t, w.model, good, w.line(extra, true), name)
			}
		}
		for name, value := range everything {
			for _, wrong := range []string{`7`, `-1`, `1.5`, `"x"`, `true`, `null`, `[]`, `{}`, `[null]`, `[1]`, `{"k":null}`, `{"k":1}`} {
				spoilt := maps.Clone(everything)
				spoilt[name] = wrong
				if w.may[name] != "" && wrong == "null" || sameType(wrong, value) || accepted[w.model+" "+w.op+" "+name][wrong] != "" || isScalar(w, name, wrong) {
					continue
				}
				requireBad(t, w.model, good, w.line(spoilt, true), name)
			}
		}
		if _, answers := w.needs["output"]; answers {
			requireBad(t, w.model, good, w.line(w.needs, false), "output")
		}
	}
	require.ElementsMatch(t, history.Names(), slices.Collect(maps.Keys(tested)))
}

// isScalar says whether the field takes any scalar: those of register and cas, but for the
// outcome of a compare-and-swap.
func isScalar(w wellFormed, name, value string) bool {
	scalar := !strings.ContainsAny(value, "[{")
	return scalar && (w.model == "register" || w.model == "cas") && name != "key" && !(w.op == "cas" && name == "output")
}

// sameType says whether both JSON values have the same type, and so whether one can stand for the other.
func sameType(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	whole := func(v any) bool { n, ok := v.(float64); return !ok || n >= 0 && n == float64(int(n)) }
	return fmt.Sprintf("%T", x) == fmt.Sprintf("%T", y) && whole(x) && !strings.ContainsAny(a, "[{")
}

// TestOutputObjects spoils the objects that versioned operations answer.
func TestOutputObjects(t *testing.T) {
	for op, outputs := range map[string][]string{
		"get": {`{}`, `{"ok":true}`, `{"ok":true,"value":"v"}`, `{"ok":true,"version":1}`, `{"ok":1}`, `{"ok":null}`, `{"ok":true,"value":7,"version":1}`,
			`{"ok":true,"value":null,"version":1}`, `{"ok":true,"value":"v","version":null}`, `{"ok":true,"value":"v","version":-1}`,
			`{"ok":true,"value":"v","version":1,"vresion":2}`, `{"OK":true,"value":"v","version":1}`, `{"ok":false,"ok":true,"value":"v","version":1}`},
		"cas": {`{}`, `{"version":1}`, `{"ok":1}`, `{"ok":true,"version":1.5}`, `{"ok":true,"value":"v","version":1}`},
	} {
		for _, output := range outputs {
			text := fmt.Sprintf(`{"op":%q,"key":"k","call":1,"return":2,"output":%s}`, op, output)
			if op == "cas" {
				text = fmt.Sprintf(`{"op":%q,"key":"k","version":1,"value":"v","call":1,"return":2,"output":%s}`, op, output)
			}
			_, err := history.Read(strings.NewReader(text), "versioned")
			require.ErrorIs(t, err, history.ErrFormat, text)
		}
	}
	for _, good := range []string{`{"op":"get","key":"k","call":1,"return":2,"output":{"ok":false}}`,
		`{"op":"get","key":"k","call":1,"return":2,"output":{"ok":false,"value":"","version":0}}`,
		`{"op":"cas","key":"k","version":1,"value":"v","call":1,"return":2,"output":{"ok":false}}`} {
		_, err := history.Read(strings.NewReader(good), "versioned")
		require.NoError(t, err, good)
	}
	for _, output := range []string{`{"k":"a","k":"b"}`, `{"k":null}`} {
		_, err := history.Read(strings.NewReader(`{"op":"scan","call":1,"return":2,"output":`+output+`}`), "store")
		require.ErrorIs(t, err, history.ErrFormat, output)
	}
}

// TestEqualNumbers writes and reads the same number in different forms.
func TestEqualNumbers(t *testing.T) {
	forms := [][]string{
		{"1", "1.0", "1e0", "10e-1", "0.1E1", "1.000", "100e-2"},
		{"0", "-0", "0.0", "-0e5", "0e999999999999999999999"},
		{"-2.5", "-25e-1", "-0.25e+1"},
		{"123456789012345678901234567890", "123456789012345678901234567890.0"},
		{"123456789012345678901234567891"},
		{"1e400", "10e399", "0.1e401"},
		{"1e-400", "10e-401"},
		{"1e21"}, {"1e-7"}, {"1.5", "15e-1"}, {"10", "1e1"}, {"100", "1e2"}, {`"1"`}, {`"1.0"`}, {"true"}, {"null"},
	}
	for i, written := range forms {
		for j, read := range forms {
			for _, w := range written {
				for _, r := range read {
					require.Equal(t, i == j, legal(t, "register", fmt.Sprintf(`{"op":"write","value":%s,"call":1,"return":2}
						{"op":"read","output":%s,"call":3,"return":4}`, w, r)), "write %s, read %s", w, r)
				}
			}
		}
	}
	require.True(t, legal(t, "cas", `{"op":"write","value":1,"call":1,"return":2}
		{"op":"cas","expect":1.0,"value":20e-1,"output":true,"call":3,"return":4}
		{"op":"read","output":2,"call":5,"return":6}`))
	_, err := history.Read(strings.NewReader(`{"op":"write","value":1e99999999999999999999,"call":1}`), "register")
	require.ErrorContains(t, err, "1e99999999999999999999")
}

func legal(t *testing.T, model, text string) bool {
	t.Helper()
	operations, err := history.Read(strings.NewReader(text), model)
	require.NoError(t, err)
	m, err := history.Model(model)
	require.NoError(t, err)
	return porcupine.CheckOperations(m, operations)
}

// TestLineIsExact refuses lines that a lenient reader would read as something else.
func TestLineIsExact(t *testing.T) {
	good := `{"op":"get","key":"k","output":"","call":1,"return":2}`
	for line, want := range map[string]string{
		`{"op":"get","Key":"k","output":"","call":1,"return":2}`:                       `unknown field "Key"`,
		`{"op":"get","key":"k","OUTPUT":"a","output":"","call":1}`:                     `unknown field "OUTPUT"`,
		`{"op":"get","key":"k","key":"l","output":"","call":1,"return":2}`:             `"key" twice`,
		`{"op":"put","key":"k","value":"\ud800","call":1}`:                             "surrogate",
		`{"op":"put","key":"k","value":"\udc00\ud800","call":1}`:                       "surrogate",
		`{"op":"put","key":"k","value":"\ud800\u0041","call":1}`:                       "surrogate",
		`{"op":"put","key":"k","value":"a","call":null}`:                               "call",
		`{"op":"put","key":"k","value":"a","call":"1"}`:                                "call",
		`{"op":"put","key":"k","value":"a","call":1,"return":true}`:                    "return",
		`{"op":null,"key":"k","value":"a","call":1}`:                                   "op",
		`{"key":"k","value":"a","call":1}`:                                             "op",
		`{"client":null,"op":"put","key":"k","value":"a","call":1}`:                    "client",
		`{"client":1.5,"op":"put","key":"k","value":"a","call":1}`:                     "client",
		`{"op":"put","key":"k","value":"a","call":1,"output":"ErrTimeout","return":2}`: "output",
		`{"op":"get","key":"k","value":"a","call":1,"return":2}`:                       "output",
	} {
		requireBad(t, "kv", good, line, want)
	}
	for _, line := range []string{
		`{"op":"put","key":"k","value":"\ud83d\ude00 \\ud800 \ufffd","call":1,"return":null,"output":null}`,
		`{"op":"put","key":"k","value":"","call":-1,"return":2,"output":""}`,
		` { "client" : -3 , "op" : "get" , "key" : "" , "output" : null , "call" : 1 , "return" : 1 } `,
		`{"op":"get","key":"k","value":null,"expect":null,"version":null,"output":"a","call":1,"return":2}`,
	} {
		_, err := history.Read(strings.NewReader(line), "kv")
		require.NoError(t, err, line)
	}
}

// FuzzRead gives Read any line. Of a line that Read accepts, package json reads the same.
func FuzzRead(f *testing.F) {
	for _, w := range wellFormedOps {
		f.Add(w.line(w.needs, true))
	}
	f.Add(`{"op":"get","key":"k\\\"}\u00e9","output":null,"call":-1,"return":2}`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, model := range []string{"kv", "store", "cas"} {
			operations, err := history.Read(strings.NewReader(text), model)
			if err != nil {
				require.ErrorIs(t, err, history.ErrFormat)
				continue
			}
			if model != "kv" || len(operations) != 1 {
				continue
			}
			var want struct{ Key, Value, Output string }
			require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(strings.TrimSpace(text), "\uFEFF")), &want))
			in := operations[0].Input.(models.KVInput)
			require.Equal(t, want.Key, in.Key)
			require.Equal(t, want.Value, in.Value)
			if out, completed := operations[0].Output.(models.KVOutput); completed {
				require.Equal(t, want.Output, out.Value)
			}
		}
	})
}
