//go:build !wasip1

package main

import (
	"strings"
	"testing"
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
