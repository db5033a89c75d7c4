package play_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/play"
	"raftlab/raft/core/script"
)

// election is a run with an elected leader.
var election = []string{"cluster 3 heartbeat=9", "timeout 1", "settle", "propose 1 x"}

func ask(t *testing.T, s *play.Session, req play.Request) play.Response {
	t.Helper()
	in, err := json.Marshal(req)
	require.NoError(t, err)
	var res play.Response
	require.NoError(t, json.Unmarshal(s.Handle(in), &res))
	return res
}

func last(frames []*play.Frame) *play.Frame { return frames[len(frames)-1] }

// A run has a frame for each command and one before all. A longer run keeps the frames, and
// another branch begins anew.
func TestRun(t *testing.T) {
	s := play.NewSession()
	first, err := s.Run(election)
	require.NoError(t, err)
	require.Len(t, first, 5)
	require.Empty(t, first[0].Servers)
	leader := last(first).Servers[0]
	require.Equal(t, "leader", leader.State)
	require.Equal(t, []play.Entry{{Index: 1, Term: 1, Data: "x"}}, leader.Log)
	require.Equal(t, map[uint64]uint64{1: 2, 2: 2, 3: 2}, leader.NextIndex)
	require.Equal(t, []string{"1->2#1", "1->3#1"}, []string{last(first).Messages[0].Ref, last(first).Messages[1].Ref})
	require.Equal(t, "AppendEntries", last(first).Messages[0].Kind)

	longer, err := s.Run(append(election[:4:4], "repeat 1->2", "delay 1->2#1", "partition 1 2 | 3"))
	require.NoError(t, err)
	require.Same(t, first[4], longer[4], "kept frames")
	require.Equal(t, "1->2#1", last(longer).Delayed[0].Ref)
	require.Equal(t, [][2]uint64{{1, 3}, {2, 3}, {3, 1}, {3, 2}}, last(longer).Cuts)
	require.True(t, last(longer).Messages[0].Cut, "the message to server 3 will be lost")

	branch, err := s.Run([]string{"cluster 3 heartbeat=9", "timeout 2", "deliver 2->1", "deliver 1->2"})
	require.NoError(t, err)
	require.Equal(t, "candidate", last(branch).Servers[1].State)
	require.Equal(t, []uint64{2}, last(branch).Servers[1].Votes)
	again, err := s.Run(election)
	require.NoError(t, err)
	require.Equal(t, first, again, "the same commands make the same run")
}

// A command that fails ends the frames with its error, and the session goes on.
func TestFailedCommand(t *testing.T) {
	s := play.NewSession()
	frames, err := s.Run(append(election[:4:4], "deliver 2->3", "settle"))
	require.NoError(t, err)
	require.Len(t, frames, 6)
	require.Contains(t, last(frames).Error, "no such message is on its way")
	frames, err = s.Run(append(election[:4:4], "settle"))
	require.NoError(t, err)
	require.Empty(t, last(frames).Error)
	require.Equal(t, uint64(1), last(frames).Servers[0].CommitIndex)
	_, err = s.Run(make([]string, script.MaxLines+1))
	require.ErrorIs(t, err, script.ErrLimit)
}

// A recorded run is a script that replays, and loads as the same commands.
func TestRecordReplays(t *testing.T) {
	lines := append(election[:4:4], "crash 3", "deliver 1->3", "settle", "restart 3", "tick 1 9", "settle", "heal")
	res := ask(t, play.NewSession(), play.Request{Op: "record", Lines: lines})
	require.Empty(t, res.Error)
	replayed, err := script.Run("run.txt", res.Text)
	require.NoError(t, err)
	require.Equal(t, res.Text, replayed)
	loaded := ask(t, play.NewSession(), play.Request{Op: "load", Name: "run.txt", Text: res.Text})
	require.Equal(t, lines, loaded.Lines)
}

func TestLoadNamesFileAndLine(t *testing.T) {
	res := ask(t, play.NewSession(), play.Request{Op: "load", Name: "run.txt", Text: "cluster 3\n\n# a remark\nfly 1\n----\n"})
	require.Equal(t, `run.txt:4: no such command: "fly 1"`, res.Error)
}

func TestCheck(t *testing.T) {
	s := play.NewSession()
	require.True(t, ask(t, s, play.Request{Op: "check", Lines: election, Conditions: []string{"1 state = leader", "leaders = 1"}}).Holds)
	res := ask(t, s, play.Request{Op: "check", Lines: election, Conditions: []string{"1 commit = 1"}})
	require.False(t, res.Holds)
	require.Contains(t, res.Why, "commit of server 1 is 0")
	require.Contains(t, ask(t, s, play.Request{Op: "check", Lines: election, Conditions: []string{"1 colour = red"}}).Error, "colour")
}

// A script with remarks is a lesson without a question, and shows what is quiet in a test.
func TestStory(t *testing.T) {
	lesson, err := play.ParseStory("a.txt", "# One\n# two.\ncluster 3\ntimeout 1\n----\n1 times out\n\nquiet settle\n----\nnothing to see\n\n# Three.\npropose 1 x\n----\n")
	require.NoError(t, err)
	require.Equal(t, []play.Part{
		{Words: "One two.", Commands: []script.Command{{Line: 3, Text: "cluster 3"}, {Line: 4, Text: "timeout 1"}}},
		{Commands: []script.Command{{Line: 8, Text: "settle"}}},
		{Words: "Three.", Commands: []script.Command{{Line: 13, Text: "propose 1 x"}}},
	}, lesson.Parts)
	_, err = play.ParseStory("a.txt", "# One\n")
	require.ErrorIs(t, err, play.ErrLesson)
}

func TestBadRequests(t *testing.T) {
	s := play.NewSession()
	require.Contains(t, string(s.Handle([]byte("{"))), play.ErrRequest.Error())
	require.Contains(t, ask(t, s, play.Request{Op: "fly"}).Error, `op "fly"`)
	require.Contains(t, ask(t, s, play.Request{Op: "run", Bug: "x"}).Error, "the cores of this session are correct")
	s.Plant = func(bug string) error {
		if bug == "x" {
			return nil
		}
		return errors.New("no bug " + bug)
	}
	require.Empty(t, ask(t, s, play.Request{Op: "run", Bug: "x", Lines: election}).Error)
	require.Contains(t, ask(t, s, play.Request{Op: "run", Bug: "y"}).Error, "no bug y")
}

// The notes give the reason of an answer, which the message itself does not carry.
func TestNotesGiveTheReason(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		says  string
		paper string
	}{
		{[]string{"cluster 3 noprevote", "timeout 1", "timeout 2", "deliver 1->3", "deliver 2->3"}, "it has given its vote of term 1 to server 1", "§5.2"},
		{[]string{"log 2 term=1 1", "cluster 3 noprevote", "timeout 1", "timeout 1", "deliver 1->2#1", "deliver 1->2"}, "the candidate's log ends earlier (0/0 against its own 1/1)", "§5.4.1"},
		{[]string{"cluster 3 noprevote", "timeout 1", "settle", "timeout 3", "deliver 3->2"}, "it has heard its leader within the minimum election timeout", "§6, thesis 4.2.3"},
		{[]string{"cluster 3", "timeout 1", "settle", "timeout 3", "deliver 3->1"}, "refuses its pre-vote: it leads", "thesis 9.6"},
		{[]string{"cluster 3", "timeout 1", "deliver 1->2"}, "The answer promises nothing", "thesis 9.6"},
		{[]string{"cluster 3 noprevote", "timeout 1", "settle", "propose 1 a", "deliver 1->2", "deliver 2->1"}, "With that, a majority has index 1", "§5.3, §5.4.2"},
		{[]string{"log 1 term=1 1", "cluster 3 noprevote", "timeout 1", "settle"}, "does not commit older entries by counting", "§5.4.2, Figure 8"},
		{[]string{"cluster 3 noprevote", "timeout 1", "deliver 1->2", "timeout 3", "timeout 3", "deliver 2->1", "deliver 1->3#1"}, "it is in term 2 already", "§5.1"},
	} {
		frames, err := play.NewSession().Run(tt.lines)
		require.NoError(t, err)
		require.Empty(t, last(frames).Error, tt.lines)
		found := false
		var all []string
		for _, n := range last(frames).Notes {
			all = append(all, n.Says+" ["+n.Paper+"]")
			found = found || strings.Contains(n.Says, tt.says) && n.Paper == tt.paper
		}
		require.True(t, found, "%v: want %q [%s], got\n%s", tt.lines, tt.says, tt.paper, strings.Join(all, "\n"))
	}
}

// Every effect in the scripts of the core has a note, and no note has an unfilled place.
func TestEveryEffectHasANote(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "raft", "core", "testdata", "*.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	shown := regexp.MustCompile(`^(\d+ \||\d+ (down|leader|follower|candidate|pre-candidate) ?|\d+->\d+ )`) // status, logs, inflight
	for _, file := range files {
		text := read(t, file)
		commands, err := script.Commands(text)
		require.NoError(t, err)
		s := play.NewSession()
		var lines []string
		for _, c := range commands {
			lines = append(lines, c.Text)
		}
		frames, err := s.Run(lines)
		require.NoError(t, err)
		require.Empty(t, last(frames).Error, file)
		for _, f := range frames {
			for _, n := range f.Notes {
				require.NotContains(t, n.Says, "$", n.Trace)
				if n.Says == "" && !shown.MatchString(n.Trace) {
					t.Errorf("%s: %s: no note for %q", file, f.Command, n.Trace)
				}
			}
		}
	}
}

// The functions that notes name are functions of the core.
func TestFunctionsOfNotesExist(t *testing.T) {
	declared := map[string]bool{}
	each(t, filepath.Join("..", "..", "raft", "core", "*.go"), func(n ast.Node) {
		if fn, ok := n.(*ast.FuncDecl); ok {
			declared[fn.Name.Name] = true
		}
	})
	named := 0
	check := func(e ast.Expr) {
		lit, ok := e.(*ast.BasicLit)
		if !ok {
			return
		}
		if name, err := strconv.Unquote(lit.Value); err == nil && name != "" {
			named++
			require.True(t, declared[name], "raft/core has no function %s", name)
		}
	}
	each(t, "explain*.go", func(n ast.Node) {
		switch n := n.(type) {
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "newRule" {
				for _, arg := range n.Args[min(3, len(n.Args)):] {
					check(arg)
				}
			}
		case *ast.CompositeLit:
			if array, ok := n.Type.(*ast.ArrayType); ok && array.Len == nil {
				if id, ok := array.Elt.(*ast.Ident); ok && id.Name == "string" {
					for _, e := range n.Elts {
						check(e)
					}
				}
			}
		}
	})
	require.Greater(t, named, 60)
}

// each calls do for every node of some Go files.
func each(t *testing.T, pattern string, do func(ast.Node)) {
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool { do(n); return true })
	}
}

func TestLessonErrorsHaveFileAndLine(t *testing.T) {
	const head, script = "# T\nwords\n", "```script\ncluster 3\n```\n"
	question := func(lines string) string { return "```question\n" + lines + "\n```\n" }
	for _, tt := range []struct{ text, want string }{
		{"words\n" + script, "a.md:5: bad lesson: no title"},
		{head, "a.md:3: bad lesson: no script"},
		{head + script, "a.md:6: bad lesson: the question needs ask, because and proof"},
		{head + "```python\n```\n", `a.md:3: bad lesson: block "python"`},
		{head + script + "```question\nask: x\n", "a.md:6: bad lesson: the block question has no end"},
		{head + script + question("color: red"), `a.md:7: bad lesson: "color: red" in a question`},
		{head + script + question("ask: x\nbecause: y\nproof:\nsettle"), "a.md:12: bad lesson: the question needs choices"},
		{head + script + question("ask: x\nchoice: a\nchoice: b\nbecause: y\nproof:\nsettle"), "a.md:14: bad lesson: 0 of 2 choices are right"},
	} {
		_, err := play.ParseLesson("a.md", tt.text)
		require.ErrorIs(t, err, play.ErrLesson)
		require.True(t, strings.HasPrefix(err.Error(), tt.want), "got %v; want %s", err, tt.want)
	}
}

// A request of any page ends in JSON.
func FuzzHandle(f *testing.F) {
	f.Add([]byte(`{"Op":"run","Lines":["cluster 3","timeout 1","settle"]}`))
	f.Add([]byte(`{"Op":"lesson","Name":"a","Text":"# T\n` + "```script\\ncluster 3\\n```" + `"}`))
	f.Fuzz(func(t *testing.T, request []byte) {
		if strings.Contains(string(request), "00") || strings.Contains(string(request), "99") {
			t.Skip("long waits find nothing")
		}
		if !json.Valid(play.NewSession().Handle(request)) {
			t.Fatalf("no JSON for %q", request)
		}
	})
}
