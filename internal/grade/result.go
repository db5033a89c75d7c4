package grade

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
)

// A Grade is the result of one submission.
type Grade struct {
	Name     string       `json:"name"`
	Digest   string       `json:"digest"` // of the graded files
	Points   float64      `json:"points"`
	Max      float64      `json:"max"`
	Problem  string       `json:"problem,omitempty"` // the reason if nothing ran
	Parts    []PartGrade  `json:"parts"`
	Tests    []TestResult `json:"tests"`
	Findings []Finding    `json:"findings,omitempty"`
	Notes    []string     `json:"notes,omitempty"` // decisions on the layout

	table *Table
	mu    sync.Mutex
}

// A PartGrade is the result of a part.
type PartGrade struct {
	Part    string  `json:"part"`
	Points  float64 `json:"points"`
	Max     float64 `json:"max"`
	Passed  int     `json:"passed"`
	Failed  int     `json:"failed"`
	Skipped int     `json:"skipped"`
	NotRun  int     `json:"not_run"` // for want of a package that builds, or of runs that end
}

// A TestResult is the result of a test.
type TestResult struct {
	Test    string   `json:"test"`
	Part    string   `json:"part"`
	Package string   `json:"package"`
	Checks  string   `json:"checks"` // what the test checks
	State   State    `json:"state"`
	Points  float64  `json:"points"`
	Max     float64  `json:"max"`
	Kind    string   `json:"kind,omitempty"` // of a failure: safety, liveness, crash, ...
	Detail  string   `json:"detail,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	Seed    *uint64  `json:"seed,omitempty"` // of a failure, if the table shows seeds
	Repeat  string   `json:"repeat,omitempty"`
	Excerpt string   `json:"excerpt,omitempty"`
	Picture string   `json:"picture,omitempty"` // path of the page below the submission's directory
	CPU     float64  `json:"cpu_s,omitempty"`
	Virtual float64  `json:"virtual_s,omitempty"`
}

// refuse gives no points for the tests, for a reason that concerns the whole submission.
func (one *Grade) refuse(tests []Test, state State, why string) {
	one.Problem = why
	one.set(tests, state, why)
}

// notRun describes the packages that do not build or whose tests do not end, in a line,
// or returns "".
func (one *Grade) notRun() string {
	var all []string
	for _, t := range one.Tests {
		first, _, _ := strings.Cut(t.Detail, "\n")
		text := ""
		switch t.State {
		case Broken:
			text = fmt.Sprintf("package %s does not build: %s", t.Package, first)
		case Endless:
			text = fmt.Sprintf("package %s: %s", t.Package, first)
		}
		if text != "" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return strings.Join(all, "; ")
}

// problem describes in a line why tests were not run, or returns "".
func (one *Grade) problem() string {
	if one.Problem != "" {
		return one.Problem
	}
	return one.notRun()
}

// set gives tests a state without a run.
func (one *Grade) set(tests []Test, state State, why string) {
	one.mu.Lock()
	defer one.mu.Unlock()
	for _, t := range tests {
		one.Tests = append(one.Tests, TestResult{Test: t.Name, Part: t.Part, Package: t.Package, Checks: t.Doc, State: state, Detail: why})
	}
}

// record adds the result of a test that ran.
func (one *Grade) record(t Test, r run) {
	res := TestResult{Test: t.Name, Part: t.Part, Package: t.Package, Checks: t.Doc, State: r.State, Detail: r.Detail, Notes: r.Notes, CPU: r.CPU, Virtual: r.Virtual}
	if r.State == Failed {
		res.Kind = r.Kind
		if r.Picture {
			res.Picture = picturePath(t.Name)
		}
		if one.table.ShowSeeds {
			seed := r.Seed
			res.Seed, res.Repeat, res.Excerpt = &seed, one.table.repeatText(t.Name, seed), r.Excerpt
		}
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	one.Tests = append(one.Tests, res)
}

// judgeFindings applies the policy, and reports whether a finding refuses the
// submission.
func (one *Grade) judgeFindings(found []Finding) (refused bool) {
	for _, f := range found {
		switch one.table.Policy[f.Rule] {
		case PolicyAllow:
			continue
		case PolicyRefuse:
			f.Refused, refused = true, true
		}
		one.Findings = append(one.Findings, f)
	}
	return refused
}

// finish computes the points. The order of the tests is the table's. Texts from the
// submission lose control characters, which could command a terminal.
func (one *Grade) finish() {
	one.Problem = printable(one.Problem)
	for i, n := range one.Notes {
		one.Notes[i] = oneLine(n)
	}
	for i := range one.Findings {
		one.Findings[i].Place, one.Findings[i].What = oneLine(one.Findings[i].Place), oneLine(one.Findings[i].What)
	}
	for i := range one.Tests {
		t := &one.Tests[i]
		t.Detail, t.Excerpt = printable(t.Detail), printable(t.Excerpt)
		for k, n := range t.Notes {
			t.Notes[k] = oneLine(n)
		}
	}
	order := make(map[string]int)
	for i, t := range one.table.tests {
		order[t.Name] = i
	}
	slices.SortFunc(one.Tests, func(a, b TestResult) int { return cmp.Compare(order[a.Test], order[b.Test]) })
	one.Parts, one.Points, one.Max = nil, 0, 0
	for _, part := range one.table.edition.parts() {
		if rule, graded := one.table.Parts[part]; graded {
			one.part(part, rule)
		}
	}
	one.Points, one.Max = round(one.Points), round(one.Max)
}

// part computes the points of a part. The tests share the points by weight. A
// skipped test takes no part unless the table says fail.
func (one *Grade) part(name string, rule Part) {
	p := PartGrade{Part: name, Max: rule.Points}
	var all, earned float64
	counts := func(r TestResult) bool { return r.State != Skipped || rule.Skipped == "fail" }
	for _, r := range one.Tests {
		if r.Part != name {
			continue
		}
		w := one.table.weight(Test{Name: r.Test, Part: r.Part})
		if counts(r) {
			all += w
		}
		switch r.State {
		case Passed:
			p.Passed++
			earned += w
		case Skipped:
			p.Skipped++
		case Failed:
			p.Failed++
		default:
			p.NotRun++
		}
	}
	if p.Passed+p.Failed+p.Skipped+p.NotRun == 0 {
		return // no test was chosen
	}
	if all > 0 {
		p.Points = round(rule.Points * earned / all)
	}
	for i := range one.Tests {
		if r := &one.Tests[i]; r.Part == name && counts(*r) && all > 0 {
			r.Max = round(rule.Points * one.table.weight(Test{Name: r.Test, Part: name}) / all)
			if r.State == Passed {
				r.Points = r.Max
			}
		}
	}
	one.Parts = append(one.Parts, p)
	one.Points += p.Points
	one.Max += p.Max
}

// round keeps two digits.
func round(x float64) float64 { return math.Round(x*100) / 100 }

// summary is a line on the grade.
func (one *Grade) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v of %v points", oneLine(one.Name), one.Points, one.Max)
	for _, p := range one.Parts {
		if p.Passed+p.Failed+p.Skipped == 0 {
			fmt.Fprintf(&b, ", %s not run", p.Part)
		} else {
			fmt.Fprintf(&b, ", %s %d/%d", p.Part, p.Passed, p.Passed+p.Failed)
		}
	}
	if problem := one.problem(); problem != "" {
		fmt.Fprintf(&b, " (%s)", problem)
	}
	return b.String()
}

// Graded returns the submissions that the Run graded. A report of a resumed grading may
// have others, too.
func (r *Report) Graded() []*Grade { return r.graded }

// Passed reports whether no test of any graded submission failed.
func (r *Report) Passed() bool {
	for _, one := range r.graded {
		for _, t := range one.Tests {
			if t.State != Passed && t.State != Skipped {
				return false
			}
		}
	}
	return true
}
