package grade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"raftlab"
	"raftlab/internal/jail"
)

// Config says what is graded and how.
type Config struct {
	Table  *Table
	Out    string         // directory for the results; "" writes none
	Resume bool           // continue with the results in Out
	Jobs   int            // processes at once; 0 is the number of CPUs
	Run    *regexp.Regexp // tests to run; nil is all
	Seed   *uint64        // the only seed, instead of the table's
	Keep   string         // directory in which the work copies stay; "" removes them
	// RequireJail makes Grade fail where a part of the jail is missing.
	RequireJail bool
	// NoJail runs the tests without a jail. Only the limits of the engine hold.
	NoJail bool
	// Log receives warnings and progress, and may be nil.
	Log io.Writer
}

// ErrConfig is returned for a wrong Config, and for submissions with one name.
var ErrConfig = errors.New("grade: cannot grade")

// A Report holds the grades of a class.
type Report struct {
	Class string `json:"class,omitempty"`
	// Table identifies what decides the runs: the secret, their number, limits and policy.
	Table       string       `json:"table"`
	Jail        jail.Level   `json:"jail"`
	Submissions []*Grade     `json:"submissions"`
	Took        jsonDuration `json:"took_s"`
	CPU         jsonDuration `json:"cpu_s"` // of the tests

	graded []*Grade // by this Run, and not before
}

// jsonDuration is a duration that JSON shows in seconds.
type jsonDuration time.Duration

func (d jsonDuration) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", time.Duration(d).Seconds()), nil
}

// grader grades submissions of one class.
type grader struct {
	Config
	table   *Table
	level   jail.Level
	std     func(string) bool
	harness string // digest of the sources
	temp    string
	tokens  chan struct{} // one for each process under way
	journal *journal

	mu   sync.Mutex
	done int
	cpu  time.Duration
}

// Run grades submissions, each a directory or an archive. When ctx ends, Run returns
// the error of ctx, and the journal has the runs so far.
func Run(ctx context.Context, cfg Config, paths []string) (*Report, error) {
	names, err := names(paths)
	if err != nil {
		return nil, err
	}
	g, err := newGrader(cfg)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(g.temp)
	if g.journal != nil {
		defer g.journal.close()
	}
	began := time.Now()
	report := &Report{Class: g.table.Class, Table: g.table.digest(), Jail: g.level, Submissions: make([]*Grade, len(paths))}
	if err := g.all(ctx, names, paths, report); err != nil {
		return nil, err
	}
	report.graded = report.Submissions
	if g.Resume {
		if err := g.merge(report); err != nil {
			return nil, err
		}
	}
	report.Took, report.CPU = jsonDuration(time.Since(began)), jsonDuration(g.cpu)
	return report, nil
}

// merge adds the submissions of the last report in the output directory that this Run did
// not grade. The points follow from the present table.
func (g *grader) merge(report *Report) error {
	name := filepath.Join(g.Out, gradesName)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var last struct {
		Table       string
		Submissions []*Grade
	}
	if err == nil {
		err = json.Unmarshal(data, &last)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrJournal, name, err)
	}
	var all []*Grade
	left := slices.Clone(report.Submissions)
	kept := 0
	for _, one := range last.Submissions {
		if i := slices.IndexFunc(left, func(now *Grade) bool { return now.Name == one.Name }); i >= 0 {
			all = append(all, left[i])
			left = slices.Delete(left, i, i+1)
			continue
		}
		one.table = g.table
		one.finish()
		all = append(all, one)
		kept++
	}
	report.Submissions = append(all, left...)
	if kept > 0 {
		fmt.Fprintf(g.Log, "%d submissions keep their results from before\n", kept)
	}
	if kept > 0 && last.Table != report.Table {
		fmt.Fprintf(g.Log, "WARNING: the secret, the runs, the limits or the policy of the table have changed since. Name these submissions too, or points do not compare.\n")
	}
	return nil
}

// names returns a name for each submission, which is the last part of its path.
func names(paths []string) ([]string, error) {
	var names []string
	seen := make(map[string]string)
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		if _, err := os.Lstat(abs); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		name := SubmissionName(abs)
		if other, taken := seen[name]; taken {
			return nil, fmt.Errorf("%w: %s and %s have the name %s", ErrConfig, other, p, name)
		}
		seen[name] = p
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: no submissions", ErrConfig)
	}
	return names, nil
}

func newGrader(cfg Config) (*grader, error) {
	if err := supported(runtime.GOOS, runtime.GOARCH); err != nil {
		return nil, err
	}
	g := &grader{Config: cfg, table: cfg.Table, level: jail.Level{Reason: "the grader was told so"}}
	if !g.NoJail {
		g.level = jail.Probe()
	}
	if g.Run != nil && !slices.ContainsFunc(g.table.graded(), g.wanted) {
		return nil, fmt.Errorf("%w: no test of the table matches %v; raftlab grade tests lists the tests", ErrConfig, g.Run)
	}
	if g.Log == nil {
		g.Log = io.Discard
	}
	if missing := g.level.Missing(); missing != "" {
		if g.RequireJail {
			return nil, fmt.Errorf("%w: this machine lacks %s", ErrConfig, missing)
		}
		fmt.Fprintf(g.Log, "WARNING: this machine lacks %s.\nWARNING: Grade strangers' code in a container or a virtual machine of its own.\n", missing)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("%w: the go command is needed: %w", ErrConfig, err)
	}
	src := filepath.Join(strings.TrimSpace(string(root)), "src")
	g.std = func(name string) bool {
		if first, _, _ := strings.Cut(name, "/"); strings.Contains(first, ".") || name == "C" || name == "unsafe" {
			return name == "C" || name == "unsafe"
		}
		info, err := os.Stat(filepath.Join(src, filepath.FromSlash(name)))
		return err == nil && info.IsDir()
	}
	if g.harness, err = harnessDigest(); err != nil {
		return nil, err
	}
	if g.Jobs <= 0 {
		g.Jobs = runtime.NumCPU()
	}
	g.tokens = make(chan struct{}, g.Jobs)
	if g.temp, err = os.MkdirTemp("", "raftlab-grade-"); err != nil {
		return nil, err
	}
	if g.Out != "" {
		g.journal, err = openJournal(g.Out, g.Resume)
	}
	if err != nil {
		os.RemoveAll(g.temp)
	}
	return g, err
}

// supported returns an error for a system on which the engine of the grader does not run.
func supported(system, arch string) error {
	if system == "linux" && arch == "amd64" {
		return nil
	}
	return fmt.Errorf("%w: the grader runs on linux/amd64, as the native engine of raftlab sim does, and this is %s/%s; use a container or a virtual machine", ErrConfig, system, arch)
}

// wanted reports whether Config.Run selects a test.
func (g *grader) wanted(test Test) bool {
	return g.Run == nil || g.Run.MatchString(test.Name)
}

// chosen returns the tests of the table that Config.Run selects.
func (g *grader) chosen() []Test {
	return slices.DeleteFunc(g.table.graded(), func(t Test) bool { return !g.wanted(t) })
}

// harnessDigest identifies the suites and the packages below them.
var harnessDigest = sync.OnceValues(func() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(raftlab.Sources, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := raftlab.Sources.ReadFile(name)
		fmt.Fprintf(h, "%q %d\n", name, len(data))
		h.Write(data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
})

// all grades the submissions. One more submission than processes is under way, so
// that a build of one overlaps with tests of others.
func (g *grader) all(ctx context.Context, names, paths []string, report *Report) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	open := make(chan struct{}, g.Jobs+1)
	var wg sync.WaitGroup
	for i := range paths {
		select {
		case open <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-open }()
			one, err := g.grade(ctx, names[i], paths[i])
			if err != nil {
				cancel(fmt.Errorf("%s: %w", names[i], err))
				return
			}
			report.Submissions[i] = one
			g.progress(one, len(paths))
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (g *grader) progress(one *Grade, total int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done++
	fmt.Fprintf(g.Log, "%d/%d %s\n", g.done, total, one.summary())
}

// take waits for permission to run a process.
func (g *grader) take(ctx context.Context) error {
	select {
	case g.tokens <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *grader) give() { <-g.tokens }

// grade grades one submission. An error means that nobody can be graded. A fault of
// the submission is a part of its grade.
func (g *grader) grade(ctx context.Context, name, path string) (*Grade, error) {
	one := &Grade{Name: name, table: g.table}
	defer one.finish()
	src, err := readSubmission(path)
	var lay *layout
	if err == nil {
		one.Notes, one.Digest = src.notes, src.digest()
		lay, err = newLayout(src, g.table.edition, g.std)
	}
	if errors.Is(err, ErrSubmission) {
		one.refuse(g.chosen(), Broken, strings.TrimPrefix(err.Error(), ErrSubmission.Error()+": "))
		return one, nil
	}
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(g.temp, name)
	if g.Keep != "" {
		dir = filepath.Join(g.Keep, name)
	} else {
		defer os.RemoveAll(dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	tree, err := assemble(lay, dir)
	if err != nil {
		return nil, err
	}
	one.Notes = lay.notes
	found, err := g.inspect(ctx, tree)
	if errors.Is(err, ErrSubmission) {
		one.refuse(g.chosen(), Broken, strings.TrimPrefix(err.Error(), ErrSubmission.Error()+": "))
		return one, nil
	}
	if err != nil {
		return nil, err
	}
	if one.judgeFindings(found) {
		one.refuse(g.chosen(), Refused, "the submission breaks rules for its source; see the findings")
		return one, nil
	}
	return one, newSession(g, one, tree).run(ctx)
}

// inspect finds what breaks a rule in the sources of a work copy.
func (g *grader) inspect(ctx context.Context, tree *copyTree) ([]Finding, error) {
	if err := g.take(ctx); err != nil {
		return nil, err
	}
	defer g.give()
	return inspectAll(ctx, g.level.Limits, tree.inspected)
}

// seeds returns the seeds of a test in order.
func (g *grader) seeds(test string) []uint64 {
	if g.Seed != nil {
		return []uint64{*g.Seed}
	}
	seeds := make([]uint64, g.table.Runs)
	for i := range seeds {
		seeds[i] = g.table.seed(test, i)
	}
	return seeds
}
