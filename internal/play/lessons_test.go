package play_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/play"
	"raftlab/raft/core/script"
)

// lessons returns the lessons of docs by name.
func lessons(t *testing.T) map[string]*play.Lesson {
	files, err := filepath.Glob(filepath.Join("..", "..", "docs", "lessons", "*.md"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 10, "lessons")
	all := map[string]*play.Lesson{}
	for _, file := range files {
		lesson, err := play.ParseLesson(file, read(t, file))
		require.NoError(t, err)
		all[file] = lesson
	}
	return all
}

func read(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// Every lesson runs through the real core: the script with its conditions, and the proof of
// the answer. Lessons about a bug need a core with the bug, which the browser's test has.
func TestLessons(t *testing.T) {
	for file, lesson := range lessons(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".md"), func(t *testing.T) {
			require.Contains(t, []string{"", "commit-by-counting", "vote-forgotten"}, lesson.Core, "cores of lessons")
			if lesson.Core != "" {
				return
			}
			s := play.NewSession()
			var lines []string
			run := func(commands []script.Command) {
				for _, c := range commands {
					lines = append(lines, c.Text)
					frames, err := s.Run(lines)
					require.NoError(t, err)
					last := frames[len(frames)-1]
					require.Empty(t, last.Error, "%s:%d: %s", file, c.Line, c.Text)
					require.Empty(t, last.Violations, "%s:%d: %s", file, c.Line, c.Text)
					t.Logf("== %s", c.Text)
					for _, n := range last.Notes {
						t.Logf("%s\n     %s [%s] %v", n.Trace, n.Says, n.Paper, n.Code)
					}
				}
			}
			for _, part := range lesson.Parts {
				require.NotEmpty(t, part.Words, "words before each part")
				run(part.Commands)
			}
			q := lesson.Question
			if len(q.Reach) > 0 {
				why, err := s.Check(lines, q.Reach)
				require.NoError(t, err)
				require.NotEmpty(t, why, "the question is answered before it is asked")
			}
			run(q.Proof)
			if len(q.Reach) > 0 {
				why, err := s.Check(lines, q.Reach)
				require.NoError(t, err)
				require.Empty(t, why)
				return
			}
			require.Contains(t, lines[len(lines)-1], "expect ", "the proof of an answer ends with a condition")
		})
	}
}
