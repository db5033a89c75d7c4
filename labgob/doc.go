// Package labgob encodes Go values in the format of encoding/gob, with the
// warnings that a distributed-systems course needs and without the price that
// gob asks for short messages.
//
// # Use
//
// An encoder writes a stream of values and a decoder reads it back, one Decode
// for each Encode and in the same order:
//
//	var buf bytes.Buffer
//	enc := labgob.NewEncoder(&buf)
//	enc.Encode(currentTerm)
//	enc.Encode(log)
//
//	dec := labgob.NewDecoder(&buf)
//	dec.Decode(&currentTerm)
//	dec.Decode(&log)
//
// The semantics are gob's: fields are matched by name, pointers are flattened,
// a value inside an interface travels with the name under which its type was
// given to [Register] and comes back with that type (an int as an int). What
// this package writes, encoding/gob reads in any process, and the other way
// round. A stream without interface values is gob's to the byte; where there
// are some, all type definitions come before the value that needs them, and
// gob would write them in its middle.
//
// [Marshal] and [Unmarshal] turn one value of any registered type into one
// self-contained message and back, which is what a replicated log needs for
// its commands.
//
// # Warnings
//
// Two mistakes make RPC and persistence fail without an error. Both are
// reported on standard error, once for each type:
//
//   - A struct has a field whose name starts with a lower-case letter. Gob does
//     not send it, so it arrives as zero.
//   - The target of a Decode already holds something. Gob does not send zero
//     values, so what was there stays: a reply that is used twice keeps fields
//     of the first answer.
//
// # How it is fast
//
// A new gob encoder describes each type anew, and a new gob decoder compiles
// a program from that description: tens of microseconds for a message of tens
// of bytes. Here the descriptions of a type are made once and kept as bytes. An
// encoder that has "sent" them already writes only the value, and the
// descriptions are put in front. At the other end, decoders that have read
// the same descriptions wait to be used again and are handed the value alone.
// A decoder that has met an error is thrown away.
//
// # Hostile input
//
// A message is walked by its own description before gob sees it: each
// count must be covered by bytes that are there. So malformed,
// truncated or hostile input gives an error, and what a decode allocates is in
// proportion to the length of its input.
//
// All functions may be called concurrently.
package labgob
