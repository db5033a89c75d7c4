//go:build !wasip1

package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMutantsApply checks cheaply that each bug still fits the source. The command
// itself, go run ./mutants, checks that the suites find the bugs.
func TestMutantsApply(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range all {
		if names[m.name] {
			t.Errorf("two mutants are called %s", m.name)
		}
		names[m.name] = true
		if m.why == "" || m.test == "" || m.old == m.new {
			t.Errorf("%s is incomplete", m.name)
		}
		if m.file == student && !strings.HasPrefix(m.name, "student-") {
			t.Errorf("%s is not named student-%s", m.name, m.name)
		}
		if _, err := m.plant("..", t.TempDir()); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

// TestControlsApply checks that each variant of the plain Raft still fits the source.
func TestControlsApply(t *testing.T) {
	for _, c := range controls {
		if _, err := c.plant("..", t.TempDir()); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestStylesApply checks that each implementation has its files, and that its mistakes
// fit.
func TestStylesApply(t *testing.T) {
	all, err := implementations("..", t.TempDir())
	require.NoError(t, err)
	for _, impl := range all {
		if impl.about == "" {
			t.Errorf("%s: the package comment does not say what the style is", impl.name)
		}
		for _, m := range impl.mistakes {
			if _, err := m.plant("..", t.TempDir()); err != nil {
				t.Errorf("%s: %s: %v", impl.name, m.name, err)
			}
		}
	}
}

// TestLimit checks that the mistakes of a limited implementation still fit.
func TestLimit(t *testing.T) {
	impl, err := readStyle("../mutants/styles/tickers")
	require.NoError(t, err)
	require.True(t, impl.limit(regexp.MustCompile("^shardkv$")))
	require.Equal(t, []string{"shardkv"}, impl.packages())
	require.NotEmpty(t, impl.mistakes)
	for _, m := range impl.mistakes {
		require.Equal(t, "shardkv", m.pkg)
		_, err := m.plant("..", t.TempDir())
		require.NoError(t, err, m.name)
	}
	require.False(t, impl.limit(regexp.MustCompile("^raft$")))
}

func TestParseMistakes(t *testing.T) {
	found, err := parseMistakes("# a comment\n\nmistake one: why it is wrong\n<<<\na\n\tb\n===\n>>>\n<<<\nc\n===\nd\n>>>\n" +
		"mistake two: another\nfile kvraft/server.go\n<<<\nx\n===\ny\n>>>\n")
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	one, two := found[0], found[1]
	if one.name != "one" || one.why != "why it is wrong" || one.pkg != "raft" || one.file != "raft.go" ||
		len(one.edits) != 2 || one.edits[0] != (edit{old: "a\n\tb"}) || one.edits[1] != (edit{old: "c", new: "d"}) {
		t.Errorf("%+v", one)
	}
	if two.pkg != "kvraft" || two.file != "kvraft/server.go" {
		t.Errorf("%+v", two)
	}
	for _, bad := range []string{"mistake one: why\n", "mistake one: why\n<<<\na\n", "what\n"} {
		if _, err := parseMistakes(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}
