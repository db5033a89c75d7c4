package sim_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/sim"
)

// mini holds the test programs of testdata/mini, built once for each engine, and
// of testdata/schedules.
var mini = struct {
	sync.Mutex
	built map[string]sim.Program
}{built: map[string]sim.Program{}}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, p := range mini.built {
		p.Close()
	}
	os.Exit(code)
}

// program returns testdata/mini under an engine. Without the engine, program
// skips the test.
func program(t testing.TB, engine string, race bool) sim.Program {
	t.Helper()
	if engine == sim.Native {
		requireNative(t)
	}
	return built(t, fmt.Sprint(engine, race), sim.Options{Dir: "testdata/mini", Engine: engine, Race: race})
}

// built returns the program of a directory, which it builds once.
func built(t testing.TB, key string, opt sim.Options) sim.Program {
	t.Helper()
	mini.Lock()
	defer mini.Unlock()
	if p := mini.built[key]; p != nil {
		return p
	}
	programs, err := sim.Build(context.Background(), opt, ".")
	require.NoError(t, err)
	mini.built[key] = programs[0]
	return programs[0]
}

func requireNative(t testing.TB) {
	t.Helper()
	engine, why, err := sim.Select(context.Background(), "testdata/mini")
	require.NoError(t, err)
	if engine != sim.Native {
		t.Skip("no native engine here: ", why)
	}
}

func run(t testing.TB, p sim.Program, c sim.Case) sim.Outcome {
	t.Helper()
	out, err := p.Run(context.Background(), c)
	require.NoError(t, err)
	return out
}

// quick are short limits for endless tests.
var quick = sim.Limits{Virtual: 30 * time.Second, SpinCPU: 500 * time.Millisecond, Memory: 64 << 20}

// expectation is the expected outcome of a test of mini with any seed.
type expectation struct {
	test    string
	verdict sim.Verdict
	detail  string // part of it
}

func (e expectation) check(t *testing.T, out sim.Outcome) {
	t.Helper()
	if out.Verdict != e.verdict || !contains(out.Detail, e.detail) {
		t.Errorf("%s: verdict %s (%s), want %s (%s); output:\n%s", e.test, out.Verdict, out.Detail, e.verdict, e.detail, out.Output)
	}
}
