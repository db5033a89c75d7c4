package sim_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"raftlab/sim"
)

// A sweep over one test, in twenty worlds.
func ExampleSweep() {
	ctx := context.Background()
	programs, err := sim.Build(ctx, sim.Options{Dir: "testdata/mini", Engine: sim.WASM}, ".")
	if err != nil {
		log.Fatal(err)
	}
	defer programs[0].Close()
	sweep := sim.Sweep{Programs: programs, Pattern: "TestMixed", Seeds: sim.Seeds{First: 1, Last: 20}}
	summary, err := sweep.Run(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(summary.Runs(), "runs,", len(summary.Failures()), "failures")
	// Output: 20 runs, 0 failures
}

// The lines of several machines become one summary.
func ExampleReadResults() {
	lines := `{"package":"raft","test":"TestA","seed":1,"engine":"native","verdict":"pass"}
{"package":"raft","test":"TestA","seed":2,"engine":"native","verdict":"deadlock"}`
	summary := sim.NewSummary()
	for _, machine := range []string{lines, lines} { // the same seeds twice count once
		if err := sim.ReadResults(strings.NewReader(machine), summary.Add); err != nil {
			log.Fatal(err)
		}
	}
	if err := summary.Print(os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// package  test   engine  exploration  runs  pass  deadlock  virtual/run  CPU/run
	// raft     TestA  native  none         2     1     1         0s           0s
	// 2 runs, 1 failures; 0s of virtual time in 0s of CPU time
}
