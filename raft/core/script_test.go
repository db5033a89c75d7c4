package core_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"raftlab/raft/core/script"
)

var (
	rewrite = flag.Bool("rewrite", false, "record the output of the scripts anew")
	scripts = flag.String("scripts", "testdata/*.txt", "the scripts of TestScripts, a `pattern` of files")
)

// TestScripts runs the stories in testdata. A block is some commands, a line
// "----" and what they did; testdata/README.md has the language.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob(*scripts)
	if err != nil || len(files) < 10 && *scripts == flag.Lookup("scripts").DefValue || len(files) == 0 {
		t.Fatalf("%s: found %d scripts: %v", *scripts, len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := script.Run(file, string(text))
			switch {
			case err != nil:
				t.Fatal(err)
			case strings.Contains(got, "\n"+script.Violation):
				_, violation, _ := strings.Cut(got, "\n"+script.Violation)
				violation, _, _ = strings.Cut(violation, "\n")
				t.Errorf("%s: violation: %s", file, violation)
			case *rewrite:
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			case got != string(text):
				t.Errorf("%s: the story has changed (-rewrite records it):\n%s", file, firstDifference(string(text), got))
			}
		})
	}
}

// firstDifference shows where two texts part, with the lines around it.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	part := func(lines []string) string {
		return strings.Join(lines[min(i, len(lines)):min(i+5, len(lines))], "\n")
	}
	return fmt.Sprintf("after\n%s\nwant\n%s\ngot\n%s", strings.Join(w[max(0, i-8):i], "\n"), part(w), part(g))
}
