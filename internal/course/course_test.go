package course

import (
	"archive/zip"
	"bytes"
	"go/ast"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab"
	"raftlab/internal/grade"
)

// class makes a class of three students. Its harness is made once for all tests.
var class = sync.OnceValues(func() (*config, error) {
	c, err := Options{Class: "6.5840", Students: []string{"alice", "bob", "carol"}}.config()
	if err == nil {
		c.Secret = "s"
		_, err = c.files("")
	}
	return c, err
})

func newConfig(t *testing.T) *config {
	t.Helper()
	c, err := class()
	require.NoError(t, err)
	return c
}

func TestSkeleton(t *testing.T) {
	src := `// Package x is old.
package x

import (
	"fmt"
	"sync"
)

// F does.
func F() int {
	//lab:begin 2B Do it.
	//lab:stub return 0
	//lab:begin 2C Save it.
	fmt.Println()
	//lab:end
	return 1
	//lab:end
}

var mu sync.Mutex
`
	out, err := skeleton("x.go", []byte(src), "// Package x is new.\n")
	require.NoError(t, err)
	require.Equal(t, `// Package x is new.
package x

import (
	"sync"
)

// F does.
func F() int {
	// Your code here (2B): Do it.
	return 0
	// Your code here (2C): Save it.
}

var mu sync.Mutex
`, string(out))
	out, err = solution([]byte(src))
	require.NoError(t, err)
	require.NotContains(t, string(out), "lab:")
	require.Contains(t, string(out), "fmt.Println()")
	for want, src := range map[string]string{
		"x.go:2: no part 9Z":                "package x\n//lab:begin 9Z what\n//lab:end\n",
		"x.go: a begin without an end":      "package x\n//lab:begin 2A\n",
		"x.go:2: an end without a begin":    "package x\n//lab:end\n",
		"x.go:2: a stub outside":            "package x\n//lab:stub x\n",
		"x.go:2: unknown marker //lab:hide": "package x\n//lab:hide\n",
	} {
		_, err := skeleton("x.go", []byte(src), "")
		require.ErrorContains(t, err, want)
	}
	out, err = skeleton("x.go", []byte("//lab:solution\n\npackage x\n"), "")
	require.NoError(t, err)
	require.Nil(t, out)
}

// The handout has no line of a solution, no import of this project, and nothing of its
// own Raft.
func TestHandoutHasNoSolution(t *testing.T) {
	c := newConfig(t)
	files, err := c.files("alice")
	require.NoError(t, err)
	solved, err := c.instructor()
	require.NoError(t, err)
	for name, src := range files {
		require.NotContains(t, string(src), `"raftlab/`, name)
		require.NotContains(t, string(src), "//lab:", name)
		require.False(t, strings.HasPrefix(name, "raft/core") || strings.HasPrefix(name, "rsm") || strings.HasPrefix(name, "kv/"), name)
	}
	for _, hidden := range []string{"rf.upToDate(", "rf.backUp(", "replica.", "c.balance()", "kv.sending"} {
		found := false
		for name, src := range files {
			require.NotContains(t, string(src), hidden, name)
		}
		for _, src := range solved {
			found = found || bytes.Contains(src, []byte(hidden))
		}
		require.True(t, found, "the solution has no %s, so the test checks nothing", hidden)
	}
	require.NotContains(t, string(files["README.md"]), "<no value>")
}

// Each name between backquotes in the lab texts occurs in the handout, so the texts cannot
// drift from the code. Each test of a part is on its page.
func TestTextsFitTheCode(t *testing.T) {
	c := newConfig(t)
	files, err := c.files("bob")
	require.NoError(t, err)
	var code strings.Builder
	for name, src := range files {
		if path := filepath.ToSlash(name); strings.HasSuffix(path, ".go") {
			code.Write(src)
			code.WriteString(path)
		}
	}
	// These are the student's to declare, or not code.
	free := []string{"nextIndex", "matchIndex", "commitIndex", "offset", "done", "nil", "net", "unsafe", "syscall", "os", "internal", "labs", "note:", "go test"}
	word := regexp.MustCompile("`([^`\n]+)`")
	for name, src := range files {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, m := range word.FindAllSubmatch(src, -1) {
			text := string(m[1])
			if strings.ContainsAny(text, " ,=/") || slices.Contains(free, text) {
				continue
			}
			for _, part := range strings.Split(strings.TrimSuffix(text, "()"), ".") {
				require.Regexp(t, `\b`+regexp.QuoteMeta(part)+`\b`, code.String(), "%s names %s", name, text)
			}
		}
	}
	tests, err := grade.Catalogue()
	require.NoError(t, err)
	for _, test := range tests {
		require.Contains(t, string(files["labs/"+test.Part+".md"]), "**"+test.Name+"**")
	}
}

// Each mark takes effect in the skeletons, and is read back.
func TestMarks(t *testing.T) {
	c := newConfig(t)
	plain, err := c.skeletons("")
	require.NoError(t, err)
	whole := parsed(plain.files)
	for _, k := range marks {
		choice, ok := k.find(whole[k.pkg()])
		require.True(t, ok, "%s: %s is not in the skeleton", k.pkg(), k.name())
		require.Zero(t, choice, "%s: %s", k.pkg(), k.name())
	}
	for _, student := range c.Students {
		b, err := c.skeletons(student)
		require.NoError(t, err)
		r := read(parsed(b.files), b.files)
		require.Zero(t, r.lost, student)
		require.Len(t, r.choices, len(marks))
		for _, other := range c.Students {
			e := r.evidence(mold{c.Secret, other})
			require.Equal(t, other == student, e.Agree == len(marks), "%s's handout read as %s's: %d marks", student, other, e.Agree)
			require.Equal(t, other == student, e.Code)
			if other != student {
				require.Less(t, e.Agree, len(marks)/2)
			}
		}
	}
}

func TestOrders(t *testing.T) {
	m := orderMark{"x", "T", []string{"A", "B", "C", "D"}}
	seen := make(map[string]bool)
	for choice := range m.choices() {
		src := m.plant("package x\n\ntype T struct {\n\tA int\n\tB int\n\tC int\n\tD int\n}\n", choice)
		files := parsed(map[string][]byte{"x.go": []byte(src)})
		got, ok := m.find(files["x"])
		require.True(t, ok)
		require.Equal(t, choice, got, src)
		seen[src] = true
	}
	require.Len(t, seen, 24)
	_, ok := m.find([]*ast.File{})
	require.False(t, ok)
}

// submit writes the handout of a student with changes, as a submission of a name.
func submit(t *testing.T, c *config, dir, name, student string, change func(string) string) string {
	t.Helper()
	b, err := c.skeletons(student)
	require.NoError(t, err)
	for path, src := range b.files {
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			require.NoError(t, write(filepath.Join(dir, name, path), []byte(change(string(src)))))
		}
	}
	return filepath.Join(dir, name)
}

// A copy shows, with the owner's name in the comments or without any comment. An own
// submission does not.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	c := newConfig(t)
	course := filepath.Join(dir, "course")
	require.NoError(t, c.save(course))
	same := func(s string) string { return s }
	comments := regexp.MustCompile(`(?m)//.*$`)
	bare := func(s string) string { return strings.ReplaceAll(comments.ReplaceAllString(s, ""), "killed", "isDead") }
	subs := filepath.Join(dir, "subs")
	found, err := Check(course, []string{
		submit(t, c, subs, "alice", "alice", same),
		submit(t, c, subs, "bob", "alice", bare),
		submit(t, c, subs, "carol", "carol", bare),
		submit(t, c, filepath.Join(dir, "late"), "stranger", "bob", same),
		submit(t, c, subs, "outsider", "nobody of this class", bare),
		filepath.Join(dir, "missing"),
	})
	require.NoError(t, err)
	got := make(map[string]Finding)
	for _, f := range found.Findings {
		got[f.Name] = f
	}
	require.False(t, got["alice"].Copy)
	require.Equal(t, len(marks), got["alice"].Own.Agree)
	require.True(t, got["bob"].Copy)
	require.Equal(t, "alice", got["bob"].Other.Student)
	require.False(t, got["bob"].Other.Code)
	require.Greater(t, got["bob"].Other.Bits, 60.0)
	require.False(t, got["carol"].Copy)
	require.True(t, got["stranger"].Copy)
	require.True(t, got["stranger"].Other.Code)
	require.False(t, got["outsider"].Copy, "%+v", got["outsider"].Other)
	require.NotEmpty(t, got["missing"].Error)
	require.Empty(t, found.Similar, "the handout alone is no similarity")
	var b strings.Builder
	found.Write(&b)
	require.Regexp(t, `(?s)^COPY bob: \d+ of \d+ marks are the student's own; \d+ are of alice \(1 in 2\^\d+ by chance\)\n`, b.String())
}

// Renaming does not hide a copy of the solution from the comparison.
func TestSimilar(t *testing.T) {
	src, err := raftlab.Sources.ReadFile("mutants/student/raft.go")
	require.NoError(t, err)
	other, err := raftlab.Sources.ReadFile("mutants/student/replica/replica.go")
	require.NoError(t, err)
	renamed := regexp.MustCompile(`\brf\b`).ReplaceAll(src, []byte("server"))
	prints := func(src []byte) map[uint64]bool { return fingerprints(map[string][]byte{"raft.go": src}) }
	pairs := similar([]string{"a", "b", "c"}, []map[uint64]bool{prints(src), prints(renamed), prints(other)}, nil)
	require.Len(t, pairs, 1)
	require.Equal(t, "a", pairs[0].A)
	require.Equal(t, "b", pairs[0].B)
	require.Equal(t, 1.0, pairs[0].Share)
	require.Empty(t, similar([]string{"a", "b"}, []map[uint64]bool{prints(src), prints(renamed)}, prints(src)))
}

func TestInitRefuses(t *testing.T) {
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o644))
	for want, opt := range map[string]Options{
		"is not empty":                    {},
		`"../x" is not the path`:          {Module: "../x"},
		"cannot be raftlab":               {Module: "raftlab"},
		`there is no part "2E"`:           {Parts: []string{"2A", "2E"}},
		`"../bob" is not the id`:          {Students: []string{"../bob"}},
		"student bob occurs twice":        {Students: []string{"bob", "bob"}},
		"the class is more than one line": {Class: "a\nb"},
		"is the course's own, so a":       {Edition: "2025", Students: []string{"bob"}},
		`no part "2A"; the parts are 2, `: {Edition: "2025", Parts: []string{"2A"}},
	} {
		err := Init(full, opt)
		require.ErrorIs(t, err, ErrCourse)
		require.ErrorContains(t, err, want)
	}
	require.ErrorContains(t, Add(t.TempDir(), []string{"x"}), "holds no course")
	entries, err := os.ReadDir(full)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// The 2025 edition has the course's own handout, so the course is the instructor's part.
func TestEdition2025(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "course")
	require.NoError(t, Init(dir, Options{Class: "spring", Edition: "2025", Parts: []string{"2", "3A"}}))
	require.NoDirExists(t, filepath.Join(dir, "handout"))
	table, err := grade.LoadTable(filepath.Join(dir, "instructor", "class.yaml"))
	require.NoError(t, err)
	require.Equal(t, "2025", table.Edition)
	require.Len(t, table.Parts, 2)
	require.ErrorContains(t, Add(dir, []string{"bob"}), "the handout of edition 2025 is the course's own")

	for _, name := range []string{"alice", "bob"} {
		file := filepath.Join(dir, name, "raft1", "raft.go")
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		src, err := os.ReadFile("../../mutants/student/raft.go")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, src, 0o644))
	}
	found, err := Check(dir, []string{filepath.Join(dir, "alice"), filepath.Join(dir, "bob")})
	require.NoError(t, err)
	require.Empty(t, found.Findings)
	require.Len(t, found.Similar, 1)

	if runtime.GOOS+"/"+runtime.GOARCH != "linux/amd64" {
		return
	}
	archive, err := Autograder(dir)
	require.NoError(t, err)
	z, err := zip.OpenReader(archive)
	require.NoError(t, err)
	defer z.Close()
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	require.Subset(t, names, []string{"class.yaml", "setup.sh", "run_autograder", "raftlab", "solution/kvsrv1/server.go", "solution/kvsrv1/rpc/rpc.go"})
	setup, err := os.ReadFile(filepath.Join(dir, "instructor", "gradescope", "setup.sh"))
	require.NoError(t, err)
	require.Contains(t, string(setup), "--run '^TestVersions2$'")
}

// The same student gets the same handout again, and a late student one with other marks.
func TestStudents(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "course")
	roster := filepath.Join(t.TempDir(), "roster.csv")
	require.NoError(t, os.WriteFile(roster, []byte("id,name\n# a comment\nalice,A\n\n\"bob\";B\n"), 0o644))
	students, err := ReadRoster(roster)
	require.NoError(t, err)
	require.Equal(t, []string{"alice", "bob"}, students)
	require.NoError(t, Init(dir, Options{Class: "c", Module: "edu/labs", Parts: []string{"2A", "2B"}, Students: students, HoldBack: regexp.MustCompile("Backup|^TestOneVote")}))
	first := unzipped(t, filepath.Join(dir, "students", "alice.zip"))
	require.NoError(t, Add(dir, []string{"alice", "dave"}))
	require.Equal(t, first, unzipped(t, filepath.Join(dir, "students", "alice.zip")))
	dave := unzipped(t, filepath.Join(dir, "students", "dave.zip"))
	require.Equal(t, first["handout/labrpc/network.go"], dave["handout/labrpc/network.go"])
	require.NotEqual(t, first["handout/raft/raft.go"], dave["handout/raft/raft.go"])
	c, err := load(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"alice", "bob", "dave"}, c.Students)

	// The parts and the tests are the chosen ones.
	require.NotContains(t, slices.Collect(maps.Keys(first)), "handout/kvraft/server.go")
	require.NotContains(t, first["handout/raft/suite_2b_test.go"], "func TestFastBackup2B")
	require.Contains(t, first["handout/raft/suite_2b_test.go"], "func TestBasicAgreement2B")
	require.NotContains(t, first["handout/raft/suite_2c_test.go"], "func Test")
	require.Contains(t, first["handout/labs/2B.md"], "more tests of this part")
	table, err := grade.LoadTable(filepath.Join(dir, "instructor", "class.yaml"))
	require.NoError(t, err)
	require.Len(t, table.Parts, 2)
	require.Contains(t, table.Parts["2B"].Tests, "TestFastBackup2B")
	info, err := os.Stat(filepath.Join(dir, "instructor", "course.yaml"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func unzipped(t *testing.T, name string) map[string]string {
	t.Helper()
	z, err := zip.OpenReader(name)
	require.NoError(t, err)
	defer z.Close()
	files := make(map[string]string)
	for _, f := range z.File {
		r, err := f.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		files[f.Name] = string(data)
	}
	return files
}
