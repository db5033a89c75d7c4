package grade

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/verdict"
	"raftlab/sim"
)

// A small table with three tests of 2A and one of 2B.
func smallTable(t *testing.T, part Part) *Table {
	t.Helper()
	table := &Table{Runs: 2, Secret: "s", ShowSeeds: true, Parts: map[string]Part{"2A": part}}
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
	r, ok := j.find("k", "TestX2A", 1)
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
