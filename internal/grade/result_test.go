package grade

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/verdict"
	"raftlab/sim"
)

// A small table with three tests of 2A and one of 2B.
func smallTable(t *testing.T, part Part) *Table {
	t.Helper()
	table := &Table{edition: &classic, Runs: 2, Secret: "s", ShowSeeds: true, Parts: map[string]Part{"2A": part}}
	for _, name := range []string{"TestX2A", "TestY2A", "TestZ2A"} {
		table.tests = append(table.tests, Test{Name: name, Part: "2A", Package: "raft", Doc: "Checks " + name + "."})
	}
	return table
}

func graded(table *Table, states ...State) *Grade {
	one := &Grade{Name: "s", table: table}
	for i, state := range states {
		if table.weight(table.tests[i]) > 0 {
			one.record(table.tests[i], run{Test: table.tests[i].Name, Seed: 7, State: state, Kind: "safety", Detail: "a \x01 detail"})
		}
	}
	one.finish()
	return one
}

// The tests of a part share its points by weight.
func TestPoints(t *testing.T) {
	for name, tt := range map[string]struct {
		part   Part
		states []State
		want   float64
		maxes  []float64
	}{
		"all":             {Part{Points: 10}, []State{Passed, Passed, Passed}, 10, []float64{3.33, 3.33, 3.33}},
		"none":            {Part{Points: 10}, []State{Failed, Failed, Failed}, 0, []float64{3.33, 3.33, 3.33}},
		"weights":         {Part{Points: 10, Tests: map[string]float64{"TestX2A": 3}}, []State{Passed, Failed, Passed}, 8, []float64{6, 2, 2}},
		"weight 0":        {Part{Points: 10, Tests: map[string]float64{"TestY2A": 0}}, []State{Passed, Failed, Failed}, 5, []float64{5, 5}},
		"skip is neutral": {Part{Points: 10}, []State{Passed, Skipped, Failed}, 5, []float64{5, 0, 5}},
		"skip fails":      {Part{Points: 9, Skipped: "fail"}, []State{Passed, Skipped, Failed}, 3, []float64{3, 3, 3}},
		"all skipped":     {Part{Points: 10}, []State{Skipped, Skipped, Skipped}, 0, []float64{0, 0, 0}},
		"not built":       {Part{Points: 10}, []State{Broken, Missing, Refused}, 0, []float64{3.33, 3.33, 3.33}},
	} {
		t.Run(name, func(t *testing.T) {
			one := graded(smallTable(t, tt.part), tt.states...)
			require.Equal(t, tt.want, one.Points)
			require.Equal(t, tt.part.Points, one.Max)
			var maxes []float64
			for _, r := range one.Tests {
				maxes = append(maxes, r.Max)
			}
			require.Equal(t, tt.maxes, maxes)
		})
	}
}

// Tests that were not run are neither passed nor failed, and the table says why.
func TestNotRun(t *testing.T) {
	table := smallTable(t, Part{Points: 10})
	one := &Grade{Name: "s", table: table}
	one.set(table.tests, Broken, "raft/raft.go:1:1: syntax error\nand more")
	one.finish()
	require.Equal(t, PartGrade{Part: "2A", Max: 10, NotRun: 3}, one.Parts[0])
	require.Equal(t, "s: 0 of 10 points, 2A not run (package raft does not build: raft/raft.go:1:1: syntax error)", one.summary())
	report := &Report{Submissions: []*Grade{one}, graded: []*Grade{one}}
	var b bytes.Buffer
	require.NoError(t, report.CSV(&b))
	require.Contains(t, b.String(), "s,0,10,0,package raft does not build: raft/raft.go:1:1: syntax error,0\n")
	b.Reset()
	require.NoError(t, report.JUnit(&b))
	require.Contains(t, b.String(), `<testsuite name="s" tests="3" failures="0" errors="3" skipped="0">`)
	b.Reset()
	one.Feedback(&b)
	require.Contains(t, b.String(), "2A: 0 of 10 points; 0 passed, 0 failed, 0 skipped, 3 not run")
	require.False(t, report.Passed())
}

// Seeds follow from the secret, the test and the number of the run alone.
func TestSeeds(t *testing.T) {
	table := smallTable(t, Part{Points: 1})
	require.Equal(t, table.seed("TestX2A", 0), table.seed("TestX2A", 0))
	seen := map[uint64]bool{}
	for _, secret := range []string{"a", "b"} {
		table.Secret = secret
		for _, test := range []string{"TestX2A", "TestY2A"} {
			for i := range 3 {
				seen[table.seed(test, i)] = true
			}
		}
	}
	require.Len(t, seen, 12)
}

// A pass needs the engine and the harness.
func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		engine sim.Verdict
		sent   *verdict.Result
		err    error
		want   State
	}{
		"both":               {sim.Pass, &verdict.Result{State: verdict.Pass}, nil, Passed},
		"skip":               {sim.Pass, &verdict.Result{State: verdict.Skip}, nil, Skipped},
		"no message":         {sim.Pass, nil, nil, Failed},
		"failure, exit 0":    {sim.Pass, &verdict.Result{State: verdict.Fail}, nil, Failed},
		"pass, crash later":  {sim.Crash, &verdict.Result{State: verdict.Pass}, nil, Failed},
		"forged":             {sim.Pass, nil, verdict.ErrForged, Failed},
		"unknown state":      {sim.Pass, &verdict.Result{State: "x"}, nil, Failed},
		"skip, then a crash": {sim.Crash, &verdict.Result{State: verdict.Skip}, nil, Failed},
	} {
		state, _ := judge(sim.Outcome{Verdict: tt.engine}, tt.sent, tt.err)
		require.Equal(t, tt.want, state, name)
	}
}

// The outputs are well formed, whatever tested code has printed.
func TestOutputs(t *testing.T) {
	table := smallTable(t, Part{Points: 10})
	one := graded(table, Passed, Failed, Skipped)
	report := &Report{Class: "c", Submissions: []*Grade{one}}
	dir := t.TempDir()
	require.NoError(t, report.Write(dir))
	var b bytes.Buffer
	require.NoError(t, report.JUnit(&b))
	var suites junitSuites
	require.NoError(t, xml.Unmarshal(b.Bytes(), &suites))
	require.Equal(t, 1, suites.Suites[0].Failures)
	require.Equal(t, 1, suites.Suites[0].Skipped)
	b.Reset()
	require.NoError(t, report.CSV(&b))
	rows, err := csv.NewReader(&b).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"s", "5", "10", "5", "", "0"}, rows[1])
	b.Reset()
	require.NoError(t, report.JSON(&b))
	require.True(t, json.Valid(b.Bytes()))
	b.Reset()
	one.Feedback(&b)
	require.Contains(t, b.String(), "FAIL TestY2A (5 points)\n    The test: Checks TestY2A.\n    Failure (safety): a ? detail")
	require.Contains(t, b.String(), "Repeat with: raftlab grade --run '^TestY2A$' --seed 7 DIRECTORY")
	require.FileExists(t, filepath.Join(dir, "s", "results.json"))
	table.ShowSeeds = false
	b.Reset()
	graded(table, Failed, Failed, Failed).Feedback(&b)
	require.NotContains(t, b.String(), "--seed")
}

// A journal survives a crash in the middle of a line, and refuses one in its middle.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(dir, false)
	require.NoError(t, err)
	require.NoError(t, j.add(run{Key: "k", Test: "TestX2A", Seed: 1, State: Passed}))
	_, err = j.file.WriteString(`{"key":"k","test":"Te`)
	require.NoError(t, err)
	require.NoError(t, j.close())
	_, err = openJournal(dir, false)
	require.ErrorIs(t, err, ErrJournal)
	j, err = openJournal(dir, true)
	require.NoError(t, err)
	r, ok := j.find(runID{"k", "TestX2A", 1, false})
	require.True(t, ok)
	require.Equal(t, Passed, r.State)
	require.NoError(t, j.add(run{Key: "k", Test: "TestX2A", Seed: 2, State: Failed}))
	require.NoError(t, j.close())
	j, err = openJournal(dir, true)
	require.NoError(t, err)
	require.Len(t, j.runs, 2)
	_, err = j.file.WriteString("garbage\n")
	require.NoError(t, err)
	require.NoError(t, j.close())
	_, err = openJournal(dir, true)
	require.ErrorContains(t, err, "line 3")
}

// A resumed grading of one submission keeps the others in the tables, with the points of the
// present table.
func TestMerge(t *testing.T) {
	table := smallTable(t, Part{Points: 10})
	grades := func(names ...string) (all []*Grade) {
		for _, name := range names {
			one := graded(table, Passed, Failed, Passed)
			one.Name = name
			all = append(all, one)
		}
		return all
	}
	dir := t.TempDir()
	require.NoError(t, (&Report{Table: table.digest(), Submissions: grades("a", "b", "c")}).Write(dir))
	table.Parts["2A"] = Part{Points: 20, Tests: map[string]float64{"TestY2A": 0}}
	now := grades("b", "d")
	now[0].Points = 7
	report := &Report{Table: table.digest(), Submissions: now}
	var log bytes.Buffer
	g := &grader{Config: Config{Out: dir, Log: &log}, table: table}
	require.NoError(t, g.merge(report))
	var names []string
	for _, one := range report.Submissions {
		names = append(names, one.Name)
	}
	require.Equal(t, []string{"a", "b", "c", "d"}, names)
	require.Equal(t, 7.0, report.Submissions[1].Points)
	require.Equal(t, 20.0, report.Submissions[0].Points)
	require.Equal(t, 20.0, report.Submissions[0].Max)
	require.NotContains(t, log.String(), "WARNING")
	table.Secret = "another"
	report = &Report{Table: table.digest(), Submissions: grades("b")}
	require.NoError(t, g.merge(report))
	require.Contains(t, log.String(), "WARNING: the secret, the runs")
	require.NoError(t, writeFile(filepath.Join(dir, gradesName), []byte("{")))
	require.ErrorIs(t, g.merge(report), ErrJournal)
}

// Other systems get a clear error before anything is built.
func TestSupported(t *testing.T) {
	require.NoError(t, supported("linux", "amd64"))
	for _, other := range [][2]string{{"darwin", "arm64"}, {"linux", "arm64"}, {"windows", "amd64"}} {
		err := supported(other[0], other[1])
		require.ErrorIs(t, err, ErrConfig)
		require.ErrorContains(t, err, "this is "+other[0]+"/"+other[1])
	}
}

// Texts of a submission command neither a terminal nor a spreadsheet, and do not forge lines
// of a report.
func TestHostileTexts(t *testing.T) {
	table := smallTable(t, Part{Points: 10})
	one := graded(table, Passed, Failed, Passed)
	one.Name = "=HYPERLINK(\"x\")\nbob: 10 of 10 points"
	one.Problem = "+1\u202e\x1b[2J"
	one.Findings = []Finding{{Rule: RuleLink, Place: "a\nb.go:1", What: "x"}}
	one.finish()
	require.NotContains(t, one.summary(), "\n")
	require.NotContains(t, one.Findings[0].String(), "\n")
	r := &Report{Submissions: []*Grade{one}}
	var b strings.Builder
	require.NoError(t, r.CSV(&b))
	rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Equal(t, "'"+one.Name, rows[1][0])
	require.Equal(t, "'+1??[2J", rows[1][len(rows[1])-2])
	dir := t.TempDir()
	ev := evidence{output: []byte("a\x1b]0;title\x07\xff\nb\u200b")}
	require.NoError(t, ev.write(dir, "s", "TestX2A", true))
	data, err := os.ReadFile(filepath.Join(dir, "s", "output", "TestX2A.txt"))
	require.NoError(t, err)
	require.Equal(t, "a?]0;title??\nb?", string(data))
	require.NoError(t, ev.write(dir, "s", "TestX2A", false))
	require.NoFileExists(t, filepath.Join(dir, "s", "output", "TestX2A.txt"))
}
