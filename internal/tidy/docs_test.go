package tidy

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pages returns the pages of the module by their slash-separated paths from its root.
func pages(t *testing.T) map[string]string {
	root := filepath.Join("..", "..")
	found := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, path := range paths {
			src, err := os.ReadFile(path)
			require.NoError(t, err)
			name, err := filepath.Rel(root, path)
			require.NoError(t, err)
			found[filepath.ToSlash(name)] = string(src)
		}
	}
	return found
}

// goBlocks returns the blocks of Go code in a page.
func goBlocks(page string) []string {
	var blocks []string
	for _, part := range strings.Split(page, "\n```go\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```")
		blocks = append(blocks, block)
	}
	return blocks
}

// squeeze removes indentation and empty lines.
func squeeze(src string) string {
	var out strings.Builder
	for _, line := range strings.Split(src, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}

// Code in the library's pages is an excerpt of a Go file, which compiles and has tests.
func TestCodeInPagesIsAnExcerpt(t *testing.T) {
	var code []string
	walkGo(t, func(path string, src []byte) {
		slashed := filepath.ToSlash(path)
		if strings.Contains(slashed, "examples/") || strings.Contains(slashed, "example_") {
			code = append(code, "\n"+squeeze(string(src)))
		}
	})
	checked := 0
	for name, page := range pages(t) {
		if !strings.HasPrefix(name, "docs/library") {
			continue
		}
		for _, block := range goBlocks(page) {
			checked++
			if !isExcerpt(block, code) {
				t.Errorf("%s: no example has this code:\n%s", name, block)
			}
		}
	}
	require.Greater(t, checked, 10, "blocks of Go code")
	require.False(t, isExcerpt("n := must(node.Start(host))", code))
}

func isExcerpt(block string, code []string) bool {
	for _, c := range code {
		if strings.Contains(c, "\n"+squeeze(block)) {
			return true
		}
	}
	return false
}

// declaredTests returns the names of all tests, benchmarks and fuzz targets, those of the
// nested modules and of testdata, too.
func declaredTests(t *testing.T) map[string]bool {
	declared := make(map[string]bool)
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range declaration.FindAllSubmatch(src, -1) {
			declared[string(m[1])] = true
		}
		return err
	})
	require.NoError(t, err)
	return declared
}

// Commands in pages choose tests and benchmarks by patterns. Each pattern fits at least one.
func TestCommandsChooseTests(t *testing.T) {
	declared := declaredTests(t)
	command := regexp.MustCompile("(?m)(?:go test|raftlab sim|raftlab grade)[^`\\n|]*? --?(?:test\\.)?(run|bench)[ =]('[^']+'|[^\\s`]+)")
	texts := pages(t)
	for _, pattern := range []string{"cmd/raftlab/*.go", "internal/course/files/*.md"} {
		paths, err := filepath.Glob(filepath.Join("..", "..", pattern))
		require.NoError(t, err)
		require.NotEmpty(t, paths, pattern)
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			src, err := os.ReadFile(path)
			require.NoError(t, err)
			texts[path] = string(src)
		}
	}
	checked := 0
	for name, page := range texts {
		for _, m := range command.FindAllStringSubmatch(page, -1) {
			pattern, _, _ := strings.Cut(strings.Trim(m[2], "'"), "/")
			fits, err := regexp.Compile(pattern)
			require.NoError(t, err, "%s has the command %s", name, m[0])
			if pattern == "^$" || strings.HasPrefix(pattern, "<%") {
				continue // none on purpose, or a template
			}
			checked++
			found := false
			for test := range declared {
				found = found || strings.HasPrefix(test, "Bench") == (m[1] == "bench") && fits.MatchString(test)
			}
			if !found {
				t.Errorf("%s has the command %s, which chooses nothing", name, m[0])
			}
		}
	}
	require.Greater(t, checked, 40, "commands")
}

// The table of contents has every page.
func TestEveryPageIsAChapter(t *testing.T) {
	contents := pages(t)["docs/README.md"]
	for name := range pages(t) {
		page, inDocs := strings.CutPrefix(name, "docs/")
		if !inDocs || page == "README.md" || strings.HasPrefix(page, "lessons/") || strings.HasPrefix(page, "play/") {
			continue
		}
		require.Contains(t, contents, "("+page+")", "docs/README.md has no link to the page")
	}
}

// Tests that the library's pages name exist.
func TestNamedTestsExist(t *testing.T) {
	declared := declaredTests(t)
	checked := 0
	for name, page := range pages(t) {
		if !strings.HasPrefix(name, "docs/library") {
			continue
		}
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`").FindAllStringSubmatch(page, -1) {
			checked++
			require.True(t, declared[m[1]], "%s names %s, which no file declares", name, m[1])
		}
	}
	require.Greater(t, checked, 30, "named tests")
}

// Links between pages, and to files of the module, lead somewhere.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
	checked := 0
	for name, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			checked++
			target := filepath.Join("..", "..", filepath.Dir(filepath.FromSlash(name)), filepath.FromSlash(m[1]))
			_, err := os.Stat(target)
			require.NotErrorIs(t, err, fs.ErrNotExist, "%s has a link to %s", name, m[1])
		}
	}
	require.Greater(t, checked, 30, "links")
}

// Packages, scripts and files that pages name exist. The changelog also names what is
// gone.
func TestNamedPathsExist(t *testing.T) {
	named := regexp.MustCompile("(?m)(?:^|[\\s`(])(?:\\./)?((?:scripts|internal|cmd|raft|rsm|docs|examples|bench|mutants|deploy|sim|tools)/[\\w./-]*\\w)")
	member := regexp.MustCompile(`\.[A-Z]\w*$`) // of a package, as in raft/node.Host
	checked := 0
	for name, page := range pages(t) {
		if name == "CHANGELOG.md" {
			continue
		}
		for _, m := range named.FindAllStringSubmatch(page, -1) {
			checked++
			path := strings.TrimSuffix(member.ReplaceAllString(m[1], ""), "/...")
			_, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(path)))
			require.NoError(t, err, "%s names %s", name, m[1])
		}
	}
	require.Greater(t, checked, 100, "paths")
}
