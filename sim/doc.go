// Package sim runs ordinary Go tests in simulated worlds. A world follows from a
// seed, with its goroutine scheduling, select, map order, math/rand, crypto/rand,
// ports and clock. The same seed gives the same run to the byte, and another seed
// gives another run. Sleeping takes no time. The tests need no changes.
//
// # Use
//
//	programs, err := sim.Build(ctx, sim.Options{}, "./raft")
//	sweep := sim.Sweep{Programs: programs, Pattern: "2C", Seeds: sim.Seeds{First: 1, Last: 1000}}
//	summary, err := sweep.Run(ctx)
//
// A [Program] runs a [Case] in a process or instance of its own and returns an
// [Outcome] with a [Verdict]. A case consists of a test, a seed and options. A
// [Sweep] runs many seeds, and replays each failure twice before the report. A
// [Shrinker] reduces a failure, and a [Replay] keeps a failure in a file. The
// command raftlab sim uses this package.
//
// # Engines
//
// Native builds the test binary with the tag faketime and an overlay of a few
// files of the Go runtime. With faketime, the clock jumps when everything is idle.
// Package overlay generates the overlay from the user's own Go tree, and refuses a
// source that its edits do not fit. Native is fast, can use the race detector, and
// supports the Go versions of [NativeVersions] on linux/amd64.
//
// WASM builds for wasip1/wasm and runs under wazero, with a seeded source of
// randomness and a clock that the host owns. Nothing is patched, so any Go version
// will do. WASM has no race detector, no sockets and no exploration. Goroutines
// run first come, first served, and take about ten times the CPU time. The runs
// happen in workers. A worker is this same program, started again with
// RAFTLAB_SIM_WORKER set, so a program that imports this package needs nothing
// else.
//
// # Time
//
// Time stands still while code runs, except for small charges. The program pays
// for each read of the clock and for each scheduled goroutine. The charges grow
// while the world does not go idle, so code that polls sees time move. Native
// preempts a goroutine after 10,000 synchronization operations in a row. A
// watchdog ends a goroutine without any such operation, with the verdict [Spin].
//
// # Exploration
//
// The schedule of a seed changes goroutines only where they block. [Explore] adds
// yields or short sleeps at synchronization points. A hash of the seed, the
// goroutine and its count of operations decides. The added points expose bugs in
// the gap between an unlock and the next lock. A sweep also runs the base of each
// explored case, as the control. With [Options].Preempt, the memory accesses of
// chosen packages are points too. The strategy [PCT] stands beside uniform yields,
// and a guided sweep derives worlds from earlier ones.
//
// # Failures
//
// [Tell] tells a failure by its last events, the injected points that matter and
// the goroutines that waited. [Until] and [Break] stop a run at an event or in a
// function.
//
// # Network
//
// Under Native, a world has a network of its own, simulated below package syscall.
// [Net] makes the network fail, and the faults are recorded and shrunk. A test
// directs the network with package sim/world, and declares directories as disks
// that lose what was not synced. Functions run as processes that are killed and
// started again.
//
// # What is not covered
//
// One goroutine runs at a time. Preemption inside code without calls or
// synchronization occurs only in the packages of Options.Preempt, and the
// reorderings of weak memory do not occur.
// The seed does not decide the file system, subprocesses, the process id and
// other input from outside.
package sim
