package history_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine/history"
)

// written holds a legal and an illegal history, as written, for every model.
var written = []struct{ model, legal, illegal string }{
	{"kv", `{"client":1,"op":"put","key":"x","value":"a","call":0,"return":1}
		{"client":1,"op":"append","key":"x","value":"b","call":2}
		{"client":2,"op":"get","key":"x","output":"ab","call":3,"return":4}`,
		`{"op":"put","key":"x","value":"a","call":0,"return":1}
		{"op":"get","key":"x","output":"","call":3,"return":4}`},
	{"register", `{"op":"write","value":1.5,"call":0,"return":1}
		{"op":"read","output":1.5,"call":2,"return":3}
		{"op":"read","key":"other","output":null,"call":2,"return":3}`,
		`{"op":"write","value":1,"call":0,"return":1}
		{"op":"read","output":"1","call":2,"return":3}`},
	{"cas", `{"op":"write","value":"a","call":0,"return":1}
		{"op":"cas","expect":"a","value":true,"output":true,"call":2,"return":3}
		{"op":"cas","expect":"a","value":"c","output":false,"call":4,"return":5}`,
		`{"op":"cas","expect":"a","value":"b","output":true,"call":2,"return":3}`},
	{"versioned", `{"op":"put","key":"k","value":"a","output":3,"call":0,"return":1}
		{"op":"get","key":"k","output":{"value":"a","version":3,"ok":true},"call":2,"return":3}
		{"op":"cas","key":"k","version":3,"value":"b","output":{"ok":true,"version":4},"call":4,"return":5}
		{"op":"delete","key":"k","output":true,"call":6,"return":7}
		{"op":"get","key":"k","output":{"ok":false},"call":8,"return":9}`,
		`{"op":"put","key":"k","value":"a","output":3,"call":0,"return":1}
		{"op":"append","key":"k","value":"a","output":2,"call":2,"return":3}`},
	{"store", `{"op":"put","key":"k","value":"a","output":3,"call":0,"return":1}
		{"op":"scan","output":{"k":"a"},"call":2,"return":3}`,
		`{"op":"put","key":"k","value":"a","output":3,"call":0,"return":1}
		{"op":"scan","output":{},"call":2,"return":3}`},
	{"queue", `{"op":"push","key":"q","value":"a","call":0,"return":1}
		{"op":"pop","key":"q","output":"a","call":2,"return":3}
		{"op":"pop","key":"q","output":null,"call":4,"return":5}`,
		`{"op":"push","key":"q","value":"a","call":0,"return":1}
		{"op":"peek","key":"q","output":null,"call":2,"return":3}`},
	{"set", `{"op":"add","key":"s","value":"a","output":true,"call":0,"return":1}
		{"op":"read","key":"s","output":["a"],"call":2,"return":3}`,
		`{"op":"add","key":"s","value":"a","output":true,"call":0,"return":1}
		{"op":"contains","key":"s","value":"a","output":false,"call":2,"return":3}`},
	{"lock", `{"client":1,"op":"acquire","key":"l","output":true,"call":0,"return":1}
		{"client":2,"op":"release","key":"l","output":false,"call":2,"return":3}
		{"client":2,"op":"release","key":"l","value":"1","output":true,"call":4,"return":5}`,
		`{"client":1,"op":"acquire","key":"l","output":true,"call":0,"return":1}
		{"client":2,"op":"acquire","key":"l","output":true,"call":2,"return":3}`},
	{"list", `{"op":"append","key":"l","value":"a","call":0,"return":1}
		{"op":"read","key":"l","output":["a"],"call":2,"return":3}`,
		`{"op":"append","key":"l","value":"a","call":0,"return":1}
		{"op":"read","key":"l","output":["a","a"],"call":2,"return":3}`},
}

// TestModels checks the histories of written.
func TestModels(t *testing.T) {
	tested := make(map[string]bool)
	for _, c := range written {
		tested[c.model] = true
		for text, want := range map[string]bool{c.legal: true, c.illegal: false} {
			require.Equal(t, want, legal(t, c.model, text), "%s:\n%s", c.model, text)
		}
	}
	require.ElementsMatch(t, history.Names(), slices.Collect(maps.Keys(tested)))
}

func TestBadInput(t *testing.T) {
	good := `{"op":"get","key":"x","output":"","call":1,"return":2}`
	for text, want := range map[string]string{
		good + "\n\n{":                              "line 3",
		`{"op":"fly","call":1}`:                     `no op "fly"`,
		`{"op":"get"}`:                              `no "call"`,
		`{"op":"get","call":5,"return":4}`:          "returns at 4, before its call at 5",
		`{"op":"put","key":"x","value":7,"call":1}`: "value 7: want a string",
		`{"op":"get","call":1.5}`:                   "line 1",
		`{"op":"get","call":1,"retrun":2}`:          "retrun",
		good + " " + good:                           "more than one value",
		good + "}":                                  "more than one value",
		"null":                                      "null: want an object",
		"[1]":                                       "line 1",
		"\x1f\x8b\x08":                              "line 1: not UTF-8",
		`{"op":"put","value":"` + "\xff" + `","call":1}`:                   "not UTF-8",
		`{"op":"get","call":1e30}`:                                         "line 1",
		`{"client":"a","op":"get","call":1}`:                               "client",
		`{"op":["get"],"call":1}`:                                          "op",
		strings.Repeat(" ", history.MaxLine+1):                             "line 1: longer than 16777216 bytes",
		good + "\n" + strings.Repeat("[", 20000):                           "line 2",
		`{"op":"get","key":"x","output":"\ud800`:                           "line 1",
		`{"op":"get","key":"x","call":1,"return":2,"output":{"value":""}}`: "output",
	} {
		_, err := history.Read(strings.NewReader(text), "kv")
		require.ErrorIs(t, err, history.ErrFormat, "%.80s", text)
		require.ErrorContains(t, err, want, "%.80s", text)
	}
	for _, text := range []string{"", "\n \r\n", "\uFEFF" + good + "\r\n\r\n" + good + "\r\n", good + "\n\n\t" + good} {
		operations, err := history.Read(strings.NewReader(text), "kv")
		require.NoError(t, err, "%q", text)
		require.Len(t, operations, strings.Count(text, "get"), "%q", text)
	}
	_, err := history.Read(strings.NewReader(good), "sql")
	require.ErrorContains(t, err, `no model "sql": the models are cas, kv`)
}

func TestRun(t *testing.T) {
	legal := `{"op":"get","key":"x","output":"","call":1,"return":2}`
	illegal := `{"op":"get","key":"x","output":"a","call":1,"return":2}`
	page := filepath.Join(t.TempDir(), "out.html")
	for _, c := range []struct {
		job  history.Job
		in   string
		code int
		out  string
	}{
		{history.Job{Model: "kv", Path: "-", HTML: page}, legal, history.CodeLegal, "linearizable: 1 operations, kv"},
		{history.Job{Model: "kv", Path: "-", HTML: page}, illegal, history.CodeIllegal, "cannot be placed"},
		{history.Job{Model: "kv", Path: "-", Timeout: time.Nanosecond}, legal, history.CodeUnknown, "not decided"},
		{history.Job{Model: "kv", Path: "-"}, "{", history.CodeUnknown, ""},
		{history.Job{Model: "kv", Path: "-"}, "", history.CodeLegal, "linearizable: 0 operations"},
		{history.Job{Model: "kv", Path: "-", Timeout: -time.Second}, legal, history.CodeUnknown, ""},
		{history.Job{Model: "kv", Path: "-", Memory: -1}, legal, history.CodeUnknown, ""},
		{history.Job{Model: "none", Path: "-"}, legal, history.CodeUnknown, ""},
		{history.Job{Model: "kv", Path: filepath.Join(page, "none")}, legal, history.CodeUnknown, ""},
	} {
		var out, progress bytes.Buffer
		c.job.In, c.job.Out, c.job.Err = strings.NewReader(c.in), &out, &progress
		code, err := history.Run(context.Background(), c.job)
		require.Equal(t, c.code, code, "%s: %v, %q", c.in, err, out.String())
		require.Equal(t, code == history.CodeUnknown, err != nil, "%s: code %d, %v", c.in, code, err)
		require.Contains(t, out.String(), c.out, c.in)
	}
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(content), "cannot be placed")
}

func ExampleRun() {
	recorded := strings.NewReader(`
		{"client": 1, "op": "put", "key": "x", "value": "a", "call": 10, "return": 25}
		{"client": 2, "op": "get", "key": "x", "output": "", "call": 30, "return": 40}`)
	var out bytes.Buffer
	code, err := history.Run(context.Background(), history.Job{Model: "kv", Path: "-", In: recorded, Out: &out, Quiet: true})
	first, _, _ := strings.Cut(out.String(), ",")
	os.Stdout.WriteString(first)
	if code != history.CodeIllegal || err != nil {
		os.Stdout.WriteString("unexpected")
	}
	// Output: not linearizable: 2 operations
}
