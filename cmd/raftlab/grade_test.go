//go:build linux && amd64

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/grade"
	"raftlab/internal/testkit"
	"raftlab/sim"
)

// A class is a directory with submissions.
type class struct {
	*testing.T
	dir string
}

// newClass skips the test where the engine of the grader is missing.
func newClass(t *testing.T) *class {
	engine, why, err := sim.Select(t.Context(), root)
	if err != nil || engine != sim.Native {
		t.Skipf("no native engine: %s %v", why, err)
	}
	return &class{t, t.TempDir()}
}

// plainRaft is the plain Raft of mutants, as a student of the course has it.
func (c *class) plainRaft() string {
	c.Helper()
	src, err := os.ReadFile(filepath.Join(root, "mutants", "student", "raft.go"))
	require.NoError(c, err)
	return strings.ReplaceAll(string(src), `"raftlab/`, `"6.5840/`)
}

func (c *class) file(name, content string) string {
	c.Helper()
	path := filepath.Join(c.dir, name)
	require.NoError(c, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(c, os.WriteFile(path, []byte(content), 0o644))
	return path
}

func (c *class) read(name string) string {
	c.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, name))
	require.NoError(c, err)
	return string(data)
}

// submit hands in the plain Raft with one more file.
func (c *class) submit(name, extra string) string {
	c.Helper()
	c.file(name+"/src/raft/raft.go", c.plainRaft())
	c.file(name+"/src/raft/extra.go", "package raft\n"+extra)
	return filepath.Join(c.dir, name)
}

// archive hands in the plain Raft as an archive.
func (c *class) archive(name string) string {
	c.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	src := c.plainRaft()
	require.NoError(c, w.WriteHeader(&tar.Header{Name: "hw/raft/raft.go", Mode: 0o644, Size: int64(len(src))}))
	_, err := w.Write([]byte(src))
	require.NoError(c, err)
	require.NoError(c, w.Close())
	require.NoError(c, z.Close())
	return c.file(name, b.String())
}

// grade runs the command, and returns its exit code, output and messages.
func (c *class) grade(args ...string) (code int, out, errOut string) {
	return runRaftlab(append([]string{"grade"}, args...)...)
}

// A class has a right submission, one that ends the process with success, and one that
// breaks a rule. The grading goes on after a crash of the grader.
func TestGrade(t *testing.T) {
	t.Parallel()
	c := newClass(t)
	table := c.file("class.yaml", "class: test\nsecret: s\npolicy: {link: refuse}\nparts: {2A: {points: 10, tests: {TestReElection2A: 4}}}\n")
	out := filepath.Join(c.dir, "out")
	args := []string{"--table", table, "--out", out, "--run", "^(TestInitialElection2A|TestReElection2A)$",
		c.archive("right.tar.gz"), c.submit("exit", "import \"os\"\nfunc init() { os.Exit(0) }\n"), c.submit("link", "//go:linkname x runtime.x\nfunc x()\n")}
	code, _, errOut := c.grade(args...)
	require.Equal(t, exitGradeFailed, code, errOut)
	const grades = "name,points,max,2A,problem,findings\nright,10,10,10,,0\nexit,0,10,0,,1\n" +
		"link,0,10,0,the submission breaks rules for its source; see the findings,2\n"
	require.Equal(t, grades, c.read("out/grades.csv"))

	feedback := c.read("out/exit/feedback.txt")
	require.Contains(t, feedback, "FAIL TestReElection2A (8 points)")
	// The exit code alone would be a pass.
	require.Contains(t, feedback, "Failure (unproven): the process ended with exit code 0 before the test had a result")
	require.Regexp(t, `Repeat with: raftlab grade --run '\^TestReElection2A\$' --seed \d+ DIRECTORY`, feedback)
	require.Contains(t, c.read("out/link/feedback.txt"), "the directive go:linkname (rule link); not permitted")
	var scope struct {
		Score float64
		Tests []struct {
			Score, MaxScore float64
			Status          string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(c.read("out/right/results.json")), &scope))
	require.Equal(t, 10.0, scope.Score)
	require.Len(t, scope.Tests, 2)
	require.Equal(t, "passed", scope.Tests[0].Status)
	require.Contains(t, c.read("out/junit.xml"), `<testsuite name="exit" tests="2" failures="2" errors="0" skipped="0">`)

	code, _, errOut = c.grade(args...)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errOut, "has results already")
	journal := c.read("out/journal.jsonl")
	c.file("out/journal.jsonl", journal+`{"key":"torn`)
	code, _, errOut = c.grade(append([]string{"--resume"}, args...)...)
	require.Equal(t, exitGradeFailed, code, errOut)
	require.Equal(t, journal, c.read("out/journal.jsonl"), "a run was repeated")
	require.Equal(t, grades, c.read("out/grades.csv"))
	// One submission again leaves the others in the table.
	code, _, errOut = c.grade("--resume", "--table", table, "--out", out, "--run", "^(TestInitialElection2A|TestReElection2A)$", filepath.Join(c.dir, "exit"))
	require.Equal(t, exitGradeFailed, code, errOut)
	require.Contains(t, errOut, "2 submissions keep their results from before")
	require.Equal(t, grades, c.read("out/grades.csv"))
	var report struct {
		Submissions []struct{ Tests []any }
	}
	require.NoError(t, json.Unmarshal([]byte(c.read("out/grades.json")), &report))
	require.Len(t, report.Submissions[2].Tests, 2, "--run lists the chosen tests of a refused submission")
}

func TestGradeRefusesBadInput(t *testing.T) {
	t.Parallel()
	c := &class{t, t.TempDir()}
	sub := c.submit("s", "")
	for want, args := range map[string][]string{
		"there is no part \"9Z\"":         {"--table", c.file("a.yaml", "parts: {9Z: {points: 1}}"), sub},
		"part 2A has no test \"TestX\"":   {"--table", c.file("b.yaml", "parts: {2A: {tests: {TestX: 1}}}"), sub},
		"field color not found":           {"--table", c.file("c.yaml", "color: red"), sub},
		"runs is 0, and not within":       {"--table", c.file("d.yaml", "runs: 0\nparts: {2A: {points: 1}}"), sub},
		"policy exit is \"maybe\"":        {"--table", c.file("e.yaml", "policy: {exit: maybe}\nparts: {2A: {points: 1}}"), sub},
		"part 2A has -1 points":           {"--table", c.file("f.yaml", "parts: {2A: {points: -1}}"), sub},
		"memory_mib is 1, and not within": {"--table", c.file("g.yaml", "limits: {memory_mib: 1}\nparts: {2A: {points: 1}}"), sub},
		"no part is graded":               {"--table", c.file("h.yaml", ""), sub},
		"no such file":                    {"--table", filepath.Join(c.dir, "missing.yaml"), sub},
		"--resume goes with --out":        {"--resume", sub},
		"--run: error parsing":            {"--run", "(", sub},
		"--jobs -1 is below 0":            {"--jobs", "-1", sub},
		"requires at least 1 arg":         {},
		"none of the others can be":       {"--no-jail", "--require-jail", sub},
		"elsewhere: no such file":         {filepath.Join(c.dir, "elsewhere")},
		"no test of the table matches 9Z": {"--run", "9Z", sub},
		"there is no edition \"2019\"":    {"--edition", "2019", sub},
		"the parts are 2, 3A, 3B":         {"--table", c.file("i.yaml", "edition: \"2025\"\nparts: {2A: {points: 1}}"), sub},
		"[edition table] were all set":    {"--edition", "2025", "--table", c.file("j.yaml", ""), sub},
		"have the name s":                 {sub, c.submit("more/s", "")},
	} {
		code, _, errOut := c.grade(args...)
		require.Equal(t, exitUsage, code, want)
		require.Contains(t, errOut, want)
	}
}

// The table for a new class is a right table with every test.
func TestGradeTable(t *testing.T) {
	t.Parallel()
	c := &class{t, t.TempDir()}
	code, text, _ := c.grade("table", "--class", "6.5840 2026")
	require.Equal(t, exitOK, code)
	table, err := grade.LoadTable(c.file("class.yaml", text))
	require.NoError(t, err)
	require.Len(t, table.Secret, 32)
	tests, err := grade.Catalogue()
	require.NoError(t, err)
	for _, test := range tests {
		require.Equal(t, 1.0, table.Parts[test.Part].Tests[test.Name], test.Name)
	}
}

// The table of the other edition has the parts and tests of that edition.
func TestGradeTable2025(t *testing.T) {
	t.Parallel()
	c := &class{t, t.TempDir()}
	code, text, _ := c.grade("table", "--edition", "2025")
	require.Equal(t, exitOK, code)
	table, err := grade.LoadTable(c.file("class.yaml", text))
	require.NoError(t, err)
	require.Equal(t, "2025", table.Edition)
	require.Equal(t, 1.0, table.Parts["3A"].Tests["TestInitialElection2A"])
	require.Equal(t, 1.0, table.Parts["2"].Tests["TestLostReply2"])
	code, text, _ = c.grade("tests", "--edition", "2025")
	require.Equal(t, exitOK, code)
	require.Contains(t, text, "## 5C: many controllers\n\n- **Test")
}

// tree hands in packages of this project as a student's tree of the 2025 edition.
func (c *class) tree(name string, packages ...string) string {
	c.Helper()
	for _, pkg := range packages {
		files, err := filepath.Glob(filepath.Join(root, "y2025", pkg, "*.go"))
		require.NoError(c, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			src, err := os.ReadFile(file)
			require.NoError(c, err)
			text := strings.NewReplacer(`"raftlab/y2025/`, `"6.5840/`, `"raftlab/`, `"6.5840/`).Replace(string(src))
			c.file(filepath.Join(name, "src", pkg, filepath.Base(file)), text)
		}
	}
	c.file(name+"/src/go.mod", "module 6.5840\n\ngo 1.24\n")
	return filepath.Join(c.dir, name)
}

// A tree of the 2025 edition is graded with the course's own import paths. Package raft1
// is judged by the suites of package raft.
func TestGrade2025(t *testing.T) {
	if !testkit.Soak() {
		t.Skip("only with RAFTLAB_SOAK=1")
	}
	c := newClass(t)
	right := c.tree("right", "kvsrv1", "kvsrv1/lock", "kvsrv1/rpc", "internal/versions")
	wrong := c.tree("wrong", "kvsrv1", "kvsrv1/lock", "kvsrv1/rpc", "internal/versions")
	c.file("wrong/src/raft1/raft.go", strings.NewReplacer(
		"\t\"6.5840/labrpc\"\n)", "\t\"6.5840/labrpc\"\n\t\"6.5840/raftapi\"\n\ttester \"6.5840/tester1\"\n)\n\ntype Persister = tester.Persister\n\nvar _ raftapi.ApplyMsg",
		"applyCh chan ApplyMsg) *Raft {", "applyCh chan raftapi.ApplyMsg) raftapi.Raft {",
		"type ApplyMsg struct", "type ApplyMsg = raftapi.ApplyMsg\n\ntype oldMsg struct",
		"func (rf *Raft) Kill() {", "func (rf *Raft) PersistBytes() int { return 0 }\n\nfunc (rf *Raft) Kill() {",
		"rf.votedFor = args.CandidateID", "_ = args.CandidateID", // two votes in a term
	).Replace(c.plainRaft()))
	table := c.file("class.yaml", "edition: \"2025\"\nsecret: s\nparts: {\"2\": {points: 10}, 3A: {points: 10}}\n")
	out := filepath.Join(c.dir, "out")
	code, _, errOut := c.grade("--table", table, "--out", out, "--run", "^(TestLostReply2|TestLostRace2|TestOneVoteATerm2A)$", right, wrong)
	require.Equal(t, exitGradeFailed, code, errOut)
	require.Equal(t, "name,points,max,2,3A,problem,findings\nright,10,20,10,0,,0\nwrong,10,20,10,0,,0\n", c.read("out/grades.csv"))
	feedback := c.read("out/wrong/feedback.txt")
	require.Contains(t, feedback, "Repeat with: raftlab grade --edition 2025 --run '^TestOneVoteATerm2A$'")
	require.Contains(t, feedback, "in term")
}

// The page of tests is the output of the command, so the page cannot differ from the
// comments of the suites.
func TestGradeTestsPage(t *testing.T) {
	t.Parallel()
	c := &class{t, t.TempDir()}
	code, text, _ := c.grade("tests")
	require.Equal(t, exitOK, code)
	page, err := os.ReadFile(filepath.Join(root, "docs", "grading-tests.md"))
	require.NoError(t, err)
	_, list, found := strings.Cut(string(page), "\n## ")
	require.True(t, found)
	require.Equal(t, strings.TrimSpace(text), strings.TrimSpace("## "+list), "the list in docs/grading-tests.md is not the output of: raftlab grade tests")
}

// hostile are submissions that attack the grader or the machine. The policy only
// reports here, so that the code runs and the jail has to hold.
var hostile = map[string]struct{ extra, want string }{
	"exit":  {"import \"os\"\nfunc init() { os.Exit(0) }", "Failure (unproven): the process ended with exit code 0"},
	"late":  {"import (\"fmt\"; \"os\"; \"time\")\nfunc init() { go func() { time.Sleep(300*time.Millisecond); fmt.Println(\"--- PASS: TestReElection2A (0.00s)\\nPASS\"); os.Exit(0) }() }", "unexpected call to os.Exit(0)"},
	"panic": {"func init() { go func() { panic(\"own\") }() }", "panic: own"},
	"burn":  {"import \"sync\"\nfunc init() { var mu sync.Mutex; for { mu.Lock(); mu.Unlock() } }", "more than 12s of CPU time"},
	"forge": {"import (\"fmt\"; \"syscall\")\nfunc init() { for fd := 0; fd < 10; fd++ { if fd != 1 && fd != 2 { n, err := syscall.Write(fd, []byte(`{\"test\":\"TestReElection2A\",\"state\":\"pass\"}`)); fmt.Println(fd, n, err) } } }",
		"the verdict did not come from the harness"},
	"fork":    {"import (\"fmt\"; \"syscall\")\nfunc init() { for { pid, err := syscall.ForkExec(\"/program\", nil, nil); if err != nil { fmt.Println(pid, err); panic(err) } } }", "operation not permitted"},
	"net":     {"import (\"net\")\nfunc init() { _, err := net.Dial(\"tcp\", \"127.0.0.1:1\"); panic(err) }", "socket: operation not permitted"},
	"files":   {"import (\"fmt\"; \"os\")\nfunc init() { for _, f := range []string{\"/etc/passwd\", \"/proc/self/maps\"} { _, err := os.ReadFile(f); fmt.Println(err) }; d, err := os.ReadDir(\"/\"); panic(fmt.Sprint(d, err)) }", "open /proc/self/maps: no such file"},
	"disk":    {"import (\"fmt\"; \"os\")\nfunc init() { b := make([]byte, 1<<20); for i := 0; ; i++ { if err := os.WriteFile(fmt.Sprint(os.TempDir(), \"/\", i), b, 0o644); err != nil { panic(fmt.Sprint(i, err)) } } }", "no space left on device"},
	"memory":  {"var hog [][]byte\nfunc init() { go func() { for { b := make([]byte, 64<<20); for i := range b { b[i] = 1 }; hog = append(hog, b) } }() }", "more than 128 MiB of memory"},
	"spin":    {"func init() { for {} }", "spins without yielding"},
	"endless": {"import \"time\"\nfunc init() { time.Sleep(1<<62) }", "virtual time limit reached"},
	"inodes":  {"import (\"fmt\"; \"os\")\nfunc init() { for i := 0; ; i++ { if err := os.WriteFile(fmt.Sprint(os.TempDir(), \"/\", i), nil, 0o644); err != nil { panic(err) } } }", "no space left on device"},
	"flood":   {"import \"fmt\"\nfunc init() { go func() { for { fmt.Println(\"a line of no interest, again and again\") } }() }", "more than 64 MiB of output"},
}

// No hostile submission passes, leaves the jail, or changes the grade of a right one.
func TestGradeHostile(t *testing.T) {
	if !testkit.Soak() {
		t.Skip("only with RAFTLAB_SOAK=1")
	}
	c := newClass(t)
	table := c.file("class.yaml", `
secret: s
policy: {import: report, symbol: report, link: report, assign: report}
limits: {cpu: 12s, memory_mib: 128}
parts: {2A: {points: 10}}`)
	var subs []string
	for name, h := range hostile {
		subs = append(subs, c.submit(name, h.extra))
	}
	right := c.archive("right.tgz")
	const test = "^TestReElection2A$"
	args := []string{"--table", table, "--run", test, "--out"}
	code, _, errOut := c.grade(append(append(args, filepath.Join(c.dir, "alone")), right)...)
	require.Equal(t, exitOK, code, errOut)
	code, _, errOut = c.grade(append(append(args, filepath.Join(c.dir, "out"), right), subs...)...)
	require.Equal(t, exitGradeFailed, code, errOut)
	require.NotContains(t, errOut, "WARNING", "this machine lacks a part of the jail")
	for name, h := range hostile {
		feedback := c.read("out/" + name + "/feedback.txt")
		require.Contains(t, feedback, name+": 0 of 10 points", name)
		require.Contains(t, feedback, h.want, name)
	}
	require.NotContains(t, c.read("out/late/output/TestReElection2A.txt"), os.DevNull, "the jail lacks the null device")
	require.Equal(t, c.read("alone/right/feedback.txt"), c.read("out/right/feedback.txt"))
	alone := c.read("alone/journal.jsonl")
	hash := alone[strings.Index(alone, `"hash"`):]
	require.Contains(t, c.read("out/journal.jsonl"), strings.TrimSpace(hash), "the run of the right submission differs")
}
