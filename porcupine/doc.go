// Package porcupine checks whether a history of concurrent operations is
// linearizable: whether each operation can be thought to take effect at one moment
// between its call and its return, so that all answers are those of a single
// copy of the system used by one client at a time (Herlihy and Wing, 1990).
//
// # Use
//
// A [Model] says what a single copy would answer; a history is a slice of
// [Operation] (with times) or of [Event] (in order). Ready models are in package
// raftlab/porcupine/models:
//
//	ok := porcupine.CheckOperations(models.KV, history)
//
// [CheckOperationsVerbose] also returns what [Explain] puts into words and
// [Visualize] draws. [CheckOperationsContext] has all options, and an error that names what is
// wrong with a malformed history. The names and types are those of
// github.com/anishathalye/porcupine v1.3: a program that uses that package
// changes the import path and nothing else. New are operations that never
// returned ([Pending], and events without a return), the fields StepPending and
// Hint of Model, the memory limit, and Explain.
//
// # How it decides
//
// Each partition of a history is decided on its own, as many at once as
// there are processors, in turns, so that the violation of one is found
// however long another takes.
//
// The general way is a search (search.go) that takes the model as a black
// box. It remembers configurations by the operations open at a time, not by the whole
// history, so that what matters is how many operations overlap, and not how many
// there are. Pure operations, such as reads, are put in their places at once
// (purity.go, with the check that they are pure); what differs only in having
// used more pending operations is dropped (visited.go, levels.go); of operations that are alike
// only one is tried (frames.go). Each of these files argues why no answer changes.
//
// With a [Hint], or where reads, writes and appends are recognized without one (infer.go),
// what the reads saw fixes which write each of them followed, and a scan in near-linear
// time decides (blocks.go, tokens.go). An order that it finds is stepped through with Step
// before it is believed. A violation is believed if the model declares the hint, or if it
// follows from steps that were made for each case that can occur; otherwise the search has
// to find it too. Where operations answer versions, a hint can also tell in which order they took
// effect: the search goes by it, and what contradicts the order of time is illegal
// without a search (precedence.go).
//
// # What a model without a hint costs
//
// A model that has only Init and Step, such as the one that a course's harness brings, is a
// black box: any step that was not tried might be the one that makes the history legal. So
// no exact checker can call a history illegal before it has stepped every operation from
// every state in which it may come to take effect, and of n appends at once there are as
// many states as orders, n!. Legal histories of such a store, if the values written differ,
// are decided as fast as with a hint, as an order that was guessed needs to be stepped
// through once. Illegal ones are too where all operations are reads and writes and have
// returned, but where many clients append to one key they end as [Unknown] when time is up.
// (The error of [CheckOperationsContext] then says if the history looks illegal:
// [ErrLooksIllegal].)
//
// A hint ends that. For a model of the labs' key/value store it takes a line, whatever its
// types are called:
//
//	model := models.WithKVHint(course.KvModel)
//
// and for any other model of one value, these:
//
//	model.Hint = &porcupine.Hint{Initial: 0, Access: func(input, output any) porcupine.Access {
//		if in := input.(Input); in.Write {
//			return porcupine.Access{Kind: porcupine.AccessWrite, Value: in.Value}
//		}
//		return porcupine.Access{Kind: porcupine.AccessRead, Value: output}
//	}}
//
// # Trust
//
// All ways are compared with each other, and with an oracle that tries every order, on a
// million random histories.
//
// # Figures
//
// Processor time of one check in milliseconds, on a busy machine with two cores, and that
// of v1.3.1 of the original, or that it had no answer in 30 s there. (bench/ measures them
// all, with RAFTLAB_SOAK=1.)
//
//	history, of one key unless said                     hinted  opaque   original
//	sequential, 1,000,000 operations                    800     600      not tried
//	register, 1,000 operations, 20 to 100 clients       1-3     3-16     over 30 s
//	appends and gets, 1,000 of 10 to 100 clients,
//	  20 pending: legal                                 2-6     5-12     over 30 s
//	  the same, a stale read                            2-7     Unknown  over 30 s
//	11 appends at once and a get                        0.2     0.3      over 30 s
//	compare-and-swap, 5 values, 20 pending, illegal     20-35   30-65    9,500, and over 30 s twice
//	10,000 get/put/append, 50 clients, 10 keys: legal   25-35   45-60    over 30 s
//	  the same, a stale read                            10-30   130-     1,900, and over 30 s twice
//	versioned, 1,000 operations, 25 clients: legal      15      1,800    over 30 s
//	  the same, a stale read                            50      4,400    over 30 s
//	1,000,000 gets and puts on 100 keys                 1,400   2,700    4,400
//
// Of the stale reads that are 130 and more for a model without a hint, most take a few
// seconds, and some longer than 30.
//
// # Limits
//
// Time is bounded by a timeout or a context, memory by [SetMemoryLimit] (2 GiB unless set);
// the answer is then Unknown. All functions may be called from several goroutines at once.
//
// An illegal history of many clients in which many operations never returned may stay Unknown
// where neither values nor versions settle it: each of those may have taken effect at any
// later time, and all that they can explain has to be gone through. So it is with some
// histories of compare-and-swaps over few values, and with versions that fit the order of
// time while a value does not fit its version.
package porcupine
