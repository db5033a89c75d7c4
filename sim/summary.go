package sim

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A Summary counts results by test and exploration.
type Summary struct {
	rows     map[summaryKey]*summaryRow
	seen     map[string]bool
	failures []Result
	broken   []Result
	runs     int
	cpu      time.Duration
	virtual  time.Duration
}

type summaryKey struct{ pkg, test, engine, explore string }

type summaryRow struct {
	runs    int
	verdict map[Verdict]int
	cpu     time.Duration
	virtual time.Duration
}

// NewSummary returns an empty summary.
func NewSummary() *Summary {
	return &Summary{rows: map[summaryKey]*summaryRow{}, seen: map[string]bool{}}
}

// Add counts a result. A result that was counted before counts once. For
// example, the files of two shards may overlap.
func (s *Summary) Add(r Result) {
	if s.seen[r.key()] {
		return
	}
	s.seen[r.key()] = true
	if r.Verdict == Broken {
		s.broken = append(s.broken, r)
		return
	}
	engine := r.Engine
	if r.Race {
		engine += " race"
	}
	key := summaryKey{r.Package, r.Test, engine, r.Explore.String()}
	row := s.rows[key]
	if row == nil {
		row = &summaryRow{verdict: map[Verdict]int{}}
		s.rows[key] = row
	}
	row.runs++
	row.verdict[r.Verdict]++
	row.cpu += r.CPU
	row.virtual += r.Virtual
	s.runs++
	s.cpu += r.CPU
	s.virtual += r.Virtual
	if r.Failed() {
		s.failures = append(s.failures, r)
	}
}

// Runs returns the number of results.
func (s *Summary) Runs() int { return s.runs }

// Failures returns the failed results in the order of Add.
func (s *Summary) Failures() []Result { return slices.Clone(s.failures) }

// Broken returns a result for each package that could not be run.
func (s *Summary) Broken() []Result { return slices.Clone(s.broken) }

// Diverged reports whether a seed did not give the same run twice.
func (s *Summary) Diverged() bool {
	return slices.ContainsFunc(s.failures, func(r Result) bool { return r.Verdict == Diverged })
}

// Print writes a table with a row for each test and exploration, and names the
// packages that could not be run.
func (s *Summary) Print(w io.Writer) error {
	verdicts := s.verdicts()
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "package\ttest\tengine\texploration\truns")
	for _, v := range verdicts {
		fmt.Fprintf(tw, "\t%s", v)
	}
	fmt.Fprint(tw, "\tvirtual/run\tCPU/run\n")
	for _, k := range s.keys() {
		row := s.rows[k]
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d", k.pkg, k.test, k.engine, k.explore, row.runs)
		for _, v := range verdicts {
			fmt.Fprintf(tw, "\t%d", row.verdict[v])
		}
		n := time.Duration(row.runs)
		fmt.Fprintf(tw, "\t%v\t%v\n", (row.virtual / n).Round(time.Millisecond), (row.cpu / n).Round(100*time.Microsecond))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d runs, %d failures; %v of virtual time in %v of CPU time\n",
		s.runs, len(s.failures), s.virtual.Round(time.Second), s.cpu.Round(10*time.Millisecond))
	for _, r := range s.broken {
		if err == nil {
			_, err = fmt.Fprintf(w, "%s was not run: %s\n", r.Package, r.Detail)
		}
	}
	return err
}

// verdicts are the verdicts of the results, with Pass always first.
func (s *Summary) verdicts() []Verdict {
	var some []Verdict
	for _, v := range Verdicts() {
		for _, row := range s.rows {
			if v == Pass || row.verdict[v] > 0 {
				some = append(some, v)
				break
			}
		}
	}
	return some
}

func (s *Summary) keys() []summaryKey {
	keys := make([]summaryKey, 0, len(s.rows))
	for k := range s.rows {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b summaryKey) int {
		return strings.Compare(a.pkg+"\x00"+a.test+"\x00"+a.engine+"\x00"+a.explore, b.pkg+"\x00"+b.test+"\x00"+b.engine+"\x00"+b.explore)
	})
	return keys
}
