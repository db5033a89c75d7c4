// Package sim runs ordinary Go tests in simulated worlds. A world follows from
// a seed: goroutine scheduling, select, map order, math/rand, crypto/rand and
// the clock. The same seed gives the same run to the byte, another seed another
// run, and sleeping takes no time. The tests need not know of it.
//
// # Use
//
//	programs, err := sim.Build(ctx, sim.Options{}, "./raft")
//	sweep := sim.Sweep{Programs: programs, Pattern: "2C", Seeds: sim.Seeds{First: 1, Last: 1000}}
//	summary, err := sweep.Run(ctx)
//
// A [Program] runs a [Case], a test and a seed and perhaps more, in a process
// or instance of its own, and returns an [Outcome] with a [Verdict]. A [Sweep]
// does so for many seeds, and replays each failure twice before it reports it.
// A [Shrinker] reduces a failure, and a [Replay] keeps it in a file. The
// command raftlab sim stands on this package.
//
// # Engines
//
// Native builds the test binary with the tag faketime, in which the clock
// jumps when everything is idle, and with an overlay of a few files of the Go
// runtime, generated from the user's own Go tree by edits that refuse a source
// they do not fit. It is fast, can use the race detector, and runs on the Go
// versions of [NativeVersions] on linux/amd64.
//
// WASM builds for wasip1/wasm and runs under wazero, with a seeded source of
// randomness and a clock that the host owns. Nothing is patched, so any Go
// version will do. It has no race detector, no sockets and no exploration, runs
// goroutines first come, first served, and takes about ten times the CPU time.
// Its runs happen in workers, which are this same program started again with
// RAFTLAB_SIM_WORKER set: importing the package is all that this needs.
//
// # Time
//
// Time stands still while code runs, except for small charges: for each read
// of the clock by the program and for each goroutine that is scheduled. The
// charges grow while the world does not go idle, so that code that polls sees
// time move. A goroutine that does 10,000 synchronization operations in a row
// is preempted (Native). One that never does anything of the kind is ended by a
// watchdog: [Spin].
//
// # Exploration
//
// The schedule of a seed changes goroutines only where they block. [Explore]
// adds yields or short sleeps at synchronization points, decided by hashes of
// the seed, the goroutine and its count of operations. They expose what is wrong
// in the gap between an unlock and the next lock. Explored runs are always
// accompanied by the base, as the control.
//
// # What is not covered
//
// Preemption inside code without calls or synchronization, and the reorderings
// of weak memory, do not occur: one goroutine runs at a time. The file system,
// sockets, subprocesses, the process id, and what else comes from outside are
// not part of the seed.
package sim
