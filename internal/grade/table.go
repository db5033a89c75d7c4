package grade

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// ErrTable is returned for a table with a wrong value.
var ErrTable = errors.New("grade: the table is wrong")

func badTable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrTable, fmt.Errorf(format, args...))
}

// Bounds of a table's values.
const (
	maxPoints = 1e6
	maxRuns   = 1000
	maxSecret = 1024 // bytes
)

// A Table says what a class's grades are made of. A teacher edits the table as a
// YAML file.
type Table struct {
	Class string `yaml:"class"` // for the outputs
	// Edition is the year's set of labs, "2021-2024" or "2025". The default is "2021-2024".
	Edition string `yaml:"edition,omitempty"`
	// Secret decides the seeds. Two graders with one secret give equal points.
	Secret string `yaml:"secret"`
	// Runs is the number of seeds for each test. A test passes if all runs pass.
	Runs   int             `yaml:"runs"`
	Parts  map[string]Part `yaml:"parts"`
	Policy map[string]Rule `yaml:"policy"`
	Limits TableLimits     `yaml:"limits"`
	// ShowSeeds puts the seed of a failure into the feedback.
	ShowSeeds bool `yaml:"show_seeds"`

	tests   []Test
	edition *edition
}

// A Part is a part of a lab, such as 2A.
type Part struct {
	Points float64 `yaml:"points"`
	// Tests has the weights of tests. A test without a weight has weight 1. A test
	// with weight 0 is not run.
	Tests map[string]float64 `yaml:"tests,omitempty"`
	// Skipped says how a test counts that cannot reach its case: "neutral" divides
	// its points among the other tests, and "fail" gives none.
	Skipped string `yaml:"skipped,omitempty"`
}

// A Rule is "refuse", "report" or "allow".
type Rule string

// The values of a Rule.
const (
	PolicyRefuse Rule = "refuse"
	PolicyReport Rule = "report"
	PolicyAllow  Rule = "allow"
)

// TableLimits bound each run of a test.
type TableLimits struct {
	CPU    time.Duration `yaml:"cpu"`
	Wall   time.Duration `yaml:"wall"`
	Memory int64         `yaml:"memory_mib"`  // garbage is collected from here on; twice as much ends the run
	File   int64         `yaml:"scratch_mib"` // files of a run, which are in memory
	Build  time.Duration `yaml:"build"`       // of a package
}

// defaultLimits hold where the table has none. The largest test of a plain
// implementation takes a few seconds of CPU time.
var defaultLimits = TableLimits{CPU: time.Minute, Wall: 10 * time.Minute, Memory: 512, File: 64, Build: 5 * time.Minute}

// DefaultTable returns the table that grades every test of every part of an edition, with
// 100 points a part. The name "" is the default edition.
func DefaultTable(name string) (*Table, error) {
	e, err := editionOf(name)
	if err != nil {
		return nil, err
	}
	tests, err := e.catalogue()
	if err != nil {
		return nil, err
	}
	t := &Table{Edition: e.name, edition: e, Runs: 1, Parts: make(map[string]Part), Policy: make(map[string]Rule), Limits: defaultLimits, ShowSeeds: true, tests: tests}
	for _, part := range e.parts() {
		t.Parts[part] = Part{Points: 100}
	}
	for rule, refuses := range refusing {
		t.Policy[rule] = PolicyReport
		if refuses {
			t.Policy[rule] = PolicyRefuse
		}
	}
	return t, nil
}

// LoadTable reads a table from a file. Parts that the file does not name are not
// graded.
func LoadTable(name string) (*Table, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, badTable("%w", err)
	}
	t, err := parseTable(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

func parseTable(data []byte) (*Table, error) {
	var year struct {
		Edition string `yaml:"edition"`
	}
	if err := yaml.Unmarshal(data, &year); err != nil {
		return nil, badTable("%w", err)
	}
	t, err := DefaultTable(year.Edition)
	if err != nil {
		return nil, err
	}
	t.Parts = make(map[string]Part)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(t); err != nil && !errors.Is(err, io.EOF) {
		return nil, badTable("%w", err)
	}
	return t, t.validate()
}

// validate names the first wrong value and its limit.
func (t *Table) validate() error {
	if t.Runs < 1 || t.Runs > maxRuns {
		return badTable("runs is %d, and not within 1 and %d", t.Runs, maxRuns)
	}
	if len(t.Secret) > maxSecret {
		return badTable("the secret has %d bytes; the limit is %d", len(t.Secret), maxSecret)
	}
	if len(t.Parts) == 0 {
		return badTable("no part is graded; the parts are %s", strings.Join(t.edition.parts(), ", "))
	}
	for name, part := range t.Parts {
		if err := t.validatePart(name, part); err != nil {
			return err
		}
	}
	for rule, value := range t.Policy {
		if _, known := refusing[rule]; !known {
			return badTable("policy has no rule %q", rule)
		}
		if value != PolicyRefuse && value != PolicyReport && value != PolicyAllow {
			return badTable("policy %s is %q, and not refuse, report or allow", rule, value)
		}
	}
	return t.Limits.validate()
}

func (t *Table) validatePart(name string, part Part) error {
	if !slices.Contains(t.edition.parts(), name) {
		return badTable("there is no part %q; the parts are %s", name, strings.Join(t.edition.parts(), ", "))
	}
	if !(part.Points >= 0 && part.Points <= maxPoints) {
		return badTable("part %s has %v points, and not within 0 and %v", name, part.Points, float64(maxPoints))
	}
	if part.Skipped != "" && part.Skipped != "neutral" && part.Skipped != "fail" {
		return badTable("part %s: skipped is %q, and not neutral or fail", name, part.Skipped)
	}
	for test, weight := range part.Tests {
		if !slices.ContainsFunc(t.tests, func(x Test) bool { return x.Name == test && x.Part == name }) {
			return badTable("part %s has no test %q", name, test)
		}
		if !(weight >= 0 && weight <= maxPoints) {
			return badTable("test %s has weight %v, and not within 0 and %v", test, weight, float64(maxPoints))
		}
	}
	return nil
}

func (l TableLimits) validate() error {
	for name, d := range map[string]time.Duration{"cpu": l.CPU, "wall": l.Wall, "build": l.Build} {
		if d < time.Second || d > 24*time.Hour {
			return badTable("limits: %s is %v, and not within 1s and 24h", name, d)
		}
	}
	if l.Memory < 64 || l.Memory > 1<<16 {
		return badTable("limits: memory_mib is %d, and not within 64 and 65536", l.Memory)
	}
	if l.File < 1 || l.File > 1<<14 {
		return badTable("limits: scratch_mib is %d, and not within 1 and 16384", l.File)
	}
	return nil
}

// weight returns the weight of a test, which is 0 for a part that is not graded.
func (t *Table) weight(test Test) float64 {
	part, graded := t.Parts[test.Part]
	if !graded {
		return 0
	}
	if w, ok := part.Tests[test.Name]; ok {
		return w
	}
	return 1
}

// graded returns the tests with a weight, in order.
func (t *Table) graded() []Test {
	var tests []Test
	for _, test := range t.tests {
		if t.weight(test) > 0 {
			tests = append(tests, test)
		}
	}
	return tests
}

// seed returns the seed of a run of a test. The seeds of a class follow from the
// class's secret, so nobody knows them before.
func (t *Table) seed(test string, run int) uint64 {
	mac := hmac.New(sha256.New, []byte(t.Secret))
	fmt.Fprintf(mac, "raftlab grade seed %s %d", test, run)
	return binary.BigEndian.Uint64(mac.Sum(nil)) >> 33 // short enough to type
}

// digest identifies everything that decides the runs.
func (t *Table) digest() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %q %d %+v %v", t.edition.name, t.Secret, t.Runs, t.Limits, t.Policy))
	return hex.EncodeToString(sum[:8])
}

// NewTableFile returns the text of a table for a new class, with a secret of its own. The
// table has the given parts of an edition, or all without any.
func NewTableFile(class, edition string, parts ...string) ([]byte, error) {
	t, err := DefaultTable(edition)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 16)
	rand.Read(secret)
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Points of a class, for raftlab grade --table. docs/grading.md explains each line.\n")
	fmt.Fprintf(&b, "class: %q\nedition: %q\n# The secret decides the seeds. Keep the secret from students, and keep it for regrading.\nsecret: %s\n", class, t.Edition, hex.EncodeToString(secret))
	fmt.Fprintf(&b, "# Seeds for each test. A test passes if it passes with all of them.\nruns: %d\nshow_seeds: true\n", t.Runs)
	fmt.Fprintf(&b, "limits: {cpu: %v, wall: %v, memory_mib: %d, scratch_mib: %d, build: %v}\n", t.Limits.CPU, t.Limits.Wall, t.Limits.Memory, t.Limits.File, t.Limits.Build)
	fmt.Fprintf(&b, "# refuse, report or allow\npolicy:\n")
	for _, rule := range []string{RuleImport, RuleSymbol, RuleAssign, RuleLink, RuleExit, RuleGlobal, RuleInspect} {
		fmt.Fprintf(&b, "  %s: %s\n", rule, t.Policy[rule])
	}
	fmt.Fprintf(&b, "# The tests of a part share its points by weight. Weight 0 leaves a test out.\nparts:\n")
	for _, part := range t.edition.parts() {
		if len(parts) > 0 && !slices.Contains(parts, part) {
			continue
		}
		fmt.Fprintf(&b, "  %s:\n    points: %v\n    skipped: neutral\n    tests:\n", part, t.Parts[part].Points)
		for _, test := range t.tests {
			if test.Part == part {
				fmt.Fprintf(&b, "      %s: 1\n", test.Name)
			}
		}
	}
	return b.Bytes(), nil
}
