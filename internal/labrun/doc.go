// Package labrun runs each test of a lab suite in a process of its own. A panic, an
// exit, a deadlock or an endless loop of the package under test then costs one test,
// and the suite goes on.
//
// The test function of the suite is the parent. It starts the test binary again for
// this one test, and takes over the child's result and log. The child runs the test's
// body in virtual time. If virtual time stands still, because code of the package
// spins or holds a lock across a sleep, the parent starts the child again on the real
// clock, and a note in the log says so. A failure on the real clock counts if it comes
// again while no other test runs.
//
// Virtual time shows habits that break no rule of a lab. They are notes, and the test
// passes. A note is a line of the log that begins with "note: ".
//
//   - Goroutines stay blocked after Kill.
//   - The test ran on the real clock.
//   - Whatever a suite reports with [Note].
//
// # Repeating a failure
//
// Virtual time fixes the clock and the network, and not the order of goroutines. So
// the parent repeats a failed test with the same seed, and the line "repeat with:"
// depends on the result. If every repetition fails, the line is a plain run of the
// test. Otherwise the line runs the test many times, and names the command of
// raftlab sim that searches for a run that repeats exactly.
//
// # Environment
//
//	RAFTLAB_ISOLATE=0    tests run in the process of go test, for a debugger
//	RAFTLAB_REPEATS=N    repetitions of a failed test (default 3)
//	GOGC                 when a child collects garbage (default 400)
//	RAFTLAB_LAB_RESULT   the file for the child's [Result], set by the parent
//
// Tests also run in the process of go test under raftlab sim, with coverage, with
// profiles, and where there are no processes. A grader may be the parent. It sets
// RAFTLAB_LAB_RESULT, runs one test, and reads the Result.
package labrun
