// Package compare sends the same random requests to etcd and to raftlab serve, and compares
// the answers: the messages, the errors with their codes and texts, and the revisions.
//
// A sequence of requests comes from a seed. A sequence whose answers differ is shrunk to the
// shortest sequence that still differs, and printed.
//
// An ordinary run has some sequences of each kind. RAFTLAB_COMPARE is the number of sequences
// of each kind, and RAFTLAB_COMPARE_SEED the first seed.
package compare
