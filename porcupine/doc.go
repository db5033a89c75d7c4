// Package porcupine checks whether a history of concurrent operations is linearizable. In a
// linearizable history, every operation can take effect at one moment between call and return, and
// all answers are those of a single copy of the system, used by one client at a time (Herlihy and
// Wing, 1990).
//
// # Use
//
// A [Model] specifies the answers of a single copy. A history is a slice of [Operation] with times,
// or of [Event] in order. Package raftlab/porcupine/models has ready models:
//
//	ok := porcupine.CheckOperations(models.KV, history)
//
// [CheckOperationsVerbose] also returns information, which [Explain] puts into words and
// [Visualize] draws. [CheckOperationsContext] has all options. Its error names the fault of a
// malformed history, or the cause of an unknown answer.
//
// The names and types are those of github.com/anishathalye/porcupine v1.3. A program moves from the
// original to this package by a change of the import path. This package adds pending operations
// ([Pending], and events without a return), the fields StepPending and Hint of Model, the memory
// limit, and Explain.
//
// # How it decides
//
// The checker decides each partition separately. As many partitions as there are processors are
// checked at once, and the partitions take turns, so a slow one does not delay the violation in
// another.
//
// The general method is a search that treats the model as a black box (search.go). The search
// remembers configurations by the operations that are open at a time, so the cost depends on how
// many operations overlap, and not on how many there are. The search linearizes pure operations
// such as reads at once and audits the purity afterwards (purity.go). The search drops a
// configuration if another one covers it with fewer pending operations (visited.go, levels.go). Of
// several equal operations, the search tries only one (frames.go). Each file argues that no answer
// changes.
//
// The second method is a scan in near-linear time (blocks.go, tokens.go). The scan needs a history
// whose reads identify their writes. A [Hint] or a guess (infer.go) tells the kind of each
// operation. Step must confirm an order found by the scan. A violation counts if the model declares
// the hint, or if steps for all possible cases certify the guess. Otherwise the search must find
// the violation too.
//
// Where answers have versions, a hint can tell the order of the operations. The search then leaves
// out all other orders, and a history that contradicts the order is illegal without a search
// (precedence.go). A hint can also settle pending operations (Resolve) and tell when they expire
// (expiry.go). Without Resolve, each of n unseen pending writes may stand for any other, and a
// search may try 2^n sets of them.
//
// # What a model without a hint costs
//
// A model with only Init and Step, such as the model of a course's harness, is a black box. Any
// untried step might make the history legal. So an exact checker must step every operation from
// every possible state before calling a history illegal. After n concurrent appends there are n!
// possible states, one for each order.
//
// Legal histories of such a store take no longer than with a hint if the written values differ,
// because Step confirms a guessed order in one pass. The same holds for illegal histories of
// completed reads and writes. Illegal histories in which many clients append to one key end as
// [Unknown] at the timeout. The error of [CheckOperationsContext] then wraps [ErrLooksIllegal] if
// the history looks illegal.
//
// A hint removes this cost. A model of the labs' key/value store needs one line:
//
//	model := models.WithKVHint(course.KvModel)
//
// Any other model of one value needs a few:
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
// The tests compare all methods with each other and with an oracle, on a million random histories.
// The oracle tries every order.
//
// # Figures
//
// The table shows the processor time of one check in milliseconds, from one run on a busy machine
// with two cores. The last column is v1.3.1 of the original, which often had no answer in 30 s. The
// benchmark SideBySide in bench/ measures all rows with RAFTLAB_SOAK=1.
//
//	history, of one key unless said                     hinted  opaque   original
//	sequential, 1,000,000 operations                    690     650      not tried
//	register, 1,000 operations, 20 to 100 clients       1-2     3-14     over 30 s
//	appends and gets, 1,000 of 10 to 100 clients,
//	  20 pending: legal                                 2-4     7-13     over 30 s
//	  a stale read                                      2-4     Unknown  over 30 s
//	11 concurrent appends and a get                     0.9     0.3      over 30 s
//	compare-and-swap, 5 values, 20 pending, illegal     17-32   17-38    over 30 s
//	10,000 get/put/append, 50 clients, 10 keys: legal   18      31-36    over 30 s
//	  a stale read                                      7-18    150-     1,300, and over 30 s twice
//	versioned, 1,000 operations, 25 clients: legal      5       1,500    over 30 s
//	  a stale read                                      2       3,000    over 30 s
//	versioned, 2,700 operations and 170 pending: legal  15      Unknown  over 30 s
//	  a stale read                                      12      Unknown  over 30 s
//	1,000,000 gets and puts on 100 keys                 1,700   2,300    3,300
//
// For a model without a hint, most stale reads of the row "150-" take a few seconds, and some take
// more than 30.
//
// # Limits
//
// A timeout or a context bounds the time, and [SetMemoryLimit] bounds the memory (2 GiB by
// default). A check that meets a bound answers Unknown. All functions may be called from several
// goroutines at once.
//
// An illegal history of many clients with many pending operations may stay Unknown if neither
// values nor versions settle it. Each pending operation may have taken effect at any later time,
// and the search must try all combinations. Examples are compare-and-swaps over few values, and
// versions in the right order with a value that belongs to another version.
package porcupine
