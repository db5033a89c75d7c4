//go:build !wasip1

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
)

// root is the project's directory.
var root = filepath.Join("..", "..")

// pageCommand is a command of a page, a line "$ command" with the output below.
type pageCommand struct {
	line int
	text string
	want string
}

// pageCommands returns the commands of the fenced blocks of a page, in order.
func pageCommands(page string) []pageCommand {
	var all []pageCommand
	fenced, open := false, false // open: the lines are output of the last command
	for i, line := range strings.Split(page, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			fenced, open = !fenced, false
		case !fenced:
		case strings.HasPrefix(line, "$ "):
			all = append(all, pageCommand{line: i + 1, text: line[2:]})
			open = true
		case open:
			all[len(all)-1].want += line + "\n"
		}
	}
	return all
}

// reader follows a page as a newcomer does: in order, in one directory.
type reader struct {
	*testing.T
	dir    string
	env    []string
	server *server
}

func newReader(t *testing.T) *reader {
	r := &reader{T: t, dir: t.TempDir()}
	bin := filepath.Join(r.dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	exe, err := filepath.Abs(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.Symlink(exe, filepath.Join(bin, "raftlab")))
	docs, err := filepath.Abs(filepath.Join(root, "docs"))
	require.NoError(t, err)
	require.NoError(t, os.Symlink(docs, filepath.Join(r.dir, "docs")))
	r.env = append(os.Environ(), asCommand+"=1", "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return r
}

// The address in the pages, which the test replaces with a free one.
var pageAddress = regexp.MustCompile(`(127\.0\.0\.1|localhost):8400`)

// serve starts a server as a page does, on a free address.
func (r *reader) serve(c pageCommand) {
	r.Helper()
	if r.server != nil {
		r.server.end(syscall.SIGKILL)
	}
	args := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(c.text, "raftlab "), "&"))
	cmd := command(append(args, "--listen", "127.0.0.1:0")...)
	cmd.Dir = r.dir
	r.server = startAs(r.T, cmd)
	want := strings.TrimSpace(pageAddress.ReplaceAllString(c.want, strings.TrimPrefix(r.server.url, "http://")))
	if want != "" {
		require.Equal(r, want, strings.TrimSpace(r.server.greeting), "line %d", c.line)
	}
	if strings.Contains(c.text, "--groups") {
		testkit.WaitFor(r, 10*time.Second, "the groups to join and serve", func() bool {
			out := r.server.raftlab(nil, "shards").out
			return strings.Contains(out, "configuration 1") && !strings.Contains(out, "arriving")
		})
	}
}

// run runs a command of a page and compares its output, errors included.
func (r *reader) run(c pageCommand) {
	r.Helper()
	if name, ok := strings.CutPrefix(c.text, "cat "); ok { // a file that the reader writes
		require.NoError(r, os.WriteFile(filepath.Join(r.dir, name), []byte(c.want), 0o644))
		return
	}
	address := "127.0.0.1:8400"
	if r.server != nil {
		address = strings.TrimPrefix(r.server.url, "http://")
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", pageAddress.ReplaceAllString(c.text, address))
	cmd.Dir, cmd.Env = r.dir, append(slices.Clone(r.env), "RAFTLAB_SERVER=http://"+address)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // a page shows failures, too
	got, want := strings.TrimSpace(out.String()), strings.TrimSpace(c.want)
	if varies(c.text) {
		got, want = shape(got), shape(want)
	}
	require.Equal(r, want, got, "line %d: %s", c.line, c.text)
}

// varies reports whether the numbers in a command's output differ between runs.
func varies(text string) bool {
	return strings.Contains(text, "raftlab status") || strings.HasSuffix(text, "raftlab shards") || strings.Contains(text, "raftlab check")
}

var (
	durations = regexp.MustCompile(`\b\d+(\.\d+)?(µs|us|ms|s)\b`) // the machine decides the unit, too
	digits    = regexp.MustCompile(`\d+`)
	roles     = regexp.MustCompile(`\b(leader|follower)\b`)
	spaces    = regexp.MustCompile(` +`)
)

// shape returns the lines of an output, sorted, without numbers and roles.
func shape(out string) string {
	out = durations.ReplaceAllString(out, "Ns")
	out = spaces.ReplaceAllString(roles.ReplaceAllString(digits.ReplaceAllString(out, "N"), "role"), " ")
	lines := strings.Split(out, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// The pages show what happens: each command of a page, in order, prints the output
// that the page has.
func TestPages(t *testing.T) {
	t.Parallel()
	elsewhere := regexp.MustCompile(`^(go (run|test|build)|make|scripts/)`) // has tests of its own
	for page, least := range map[string]int{"README.md": 12, "docs/serve.md": 15, "docs/shards.md": 8} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(root, page))
			require.NoError(t, err)
			r := newReader(t)
			done := 0
			for _, c := range pageCommands(string(text)) {
				switch {
				case elsewhere.MatchString(c.text):
					continue
				case strings.HasPrefix(c.text, "curl"):
					if _, err := exec.LookPath("curl"); err != nil {
						continue
					}
					r.run(c)
				case strings.HasPrefix(c.text, "raftlab serve"):
					r.serve(c)
				default:
					r.run(c)
				}
				done++
			}
			require.GreaterOrEqual(t, done, least, "commands")
		})
	}
}

// The README's program compiles in a module of its own, by the README's commands.
func TestReadmeImport(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command here")
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "```go\n")
	require.True(t, found)
	program, rest, _ := strings.Cut(rest, "```")
	_, rest, found = strings.Cut(rest, "```\n")
	require.True(t, found)
	commands, _, _ := strings.Cut(rest, "```")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o644))
	home, err := filepath.Abs(root)
	require.NoError(t, err)
	cmd := exec.Command("sh", "-ec", commands)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "RAFTLAB="+home, "GOWORK=off", "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.True(t, strings.HasSuffix(string(out), "linearizable: true\n"), string(out))
}

// The time that a command took has another unit on a slow machine.
func TestShapeOfDurations(t *testing.T) {
	require.Equal(t, shape("3 operations, kv, 0s"), shape("4 operations, kv, 12.5ms"))
	require.NotEqual(t, shape("3 operations, kv, 0s"), shape("3 operations, list, 0s"))
}
