package site

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab"
)

// Nearly every bug of the core fits the page's one engine, and every chosen one.
func TestBugsFitTheCore(t *testing.T) {
	bugs, err := Bugs(raftlab.Sources)
	require.NoError(t, err)
	files, planted, err := plantAll(raftlab.Sources, bugs)
	require.NoError(t, err)
	require.Greater(t, len(planted), 60)
	require.GreaterOrEqual(t, len(planted), len(bugs)-2, "bugs outside of functions")
	for i, name := range chosen {
		require.Equal(t, name, planted[i].Name)
		require.True(t, planted[i].Chosen)
	}
	replication := string(files["raft/core/replication.go"])
	require.Contains(t, replication, "case \"commit-by-counting\":")
	require.Equal(t, 1, strings.Count(replication, "if n > c.commitIndex {"), "the bug itself")
	require.Contains(t, string(files["raft/core/planted.go"]), "func Plant(bug string) error")
}

// A bug that no longer fits gets an error with its name.
func TestBugsThatDoNotFit(t *testing.T) {
	for _, tt := range []struct {
		bug  Bug
		says string
	}{
		{Bug{Name: "gone", File: "raft/core/log.go", Edits: []Edit{{Old: "no such text"}}}, "gone: raft/core/log.go has the text to replace 0 times"},
		{Bug{Name: "twice", File: "raft/core/log.go", Edits: []Edit{{Old: "return"}}}, "twice"},
		{Bug{Name: "broken", File: "raft/core/quiesce.go", Edits: []Edit{{Old: "func (c *Core) Quiescent() bool {", New: "func ("}}}, "broken"},
	} {
		_, _, err := plantAll(raftlab.Sources, []Bug{tt.bug})
		require.ErrorIs(t, err, ErrBug)
		require.ErrorContains(t, err, tt.says)
	}
	_, planted, err := plantAll(raftlab.Sources, []Bug{{Name: "constant", File: "raft/core/membership.go", Edits: []Edit{{Old: "const removalAnswers = 3", New: "const removalAnswers = 4"}}}})
	require.NoError(t, err)
	require.Empty(t, planted, "a bug outside of a function")
}

func TestLessonsAndCode(t *testing.T) {
	lessons, err := Lessons(raftlab.Sources)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(lessons), 10)
	require.Equal(t, "01-first-election", lessons[0].Name)
	require.Equal(t, "First election", lessons[0].Title)
	all, err := code(raftlab.Sources)
	require.NoError(t, err)
	require.Equal(t, "raft/core/replication.go", all["maybeCommit"].File)
	require.Contains(t, all["maybeCommit"].Text, "// maybeCommit ")
}

// No text of a lesson or of the code ends the page's script.
func TestPageIsOneFile(t *testing.T) {
	page, err := assemble(data{Wasm: "AA==", Lessons: []Lesson{{Name: "x", Text: "</script><script>alert(1)</script>/*SCRIPT*/"}}})
	require.NoError(t, err)
	html := string(page)
	require.Equal(t, 2, strings.Count(html, "</script>"))
	require.Equal(t, 1, strings.Count(html, "class Engine"))
	for _, outside := range []string{"src=\"http", "href=\"http", "@import", "url(http"} {
		require.NotContains(t, html, outside)
	}
}
