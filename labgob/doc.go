// Package labgob encodes Go values in the format of encoding/gob. The package
// adds the warnings of a distributed-systems course, and handles short messages
// many times faster than encoding/gob.
//
// # Use
//
// An encoder writes a stream of values. A decoder reads the values back, one
// Decode for each Encode, in the same order:
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
// The semantics are gob's. Fields are matched by name, and pointers are
// flattened. A value inside an interface travels with the name under which its
// type was given to [Register], and arrives with the same type, an int as an
// int. Each package reads the other's streams, also in another process. A stream
// without interface values equals gob's stream to the byte. In a stream with
// interface values, labgob sends all type definitions ahead of a value, and gob
// sends some in the middle of the value.
//
// Labgob differs from gob where gob fails. A decoder here can skip nil interface
// values, and interface values with type definitions inside. This holds for
// Decode(nil), and for fields that the target lacks. The exception is a type that
// was registered with encoding/gob alone. Encoding a pointer to a nil pointer is
// an error where gob writes a message that no decoder can read.
//
// Labgob shares one fault of gob's decoder. If a target struct has one type for
// two fields, and the sender's types for the two fields differ, then gob decodes
// both fields with the definition of the first. The decoder fails, or mixes up
// the contents of the second field. A receiver avoids this with a type of its
// own for each of the sender's types.
//
// [Marshal] and [Unmarshal] convert one value of any registered type to one
// self-contained message and back. Replicated logs need such messages for their
// commands.
//
// # Warnings
//
// Two mistakes make RPC and persistence fail without an error. Package labgob
// reports both on standard error, once for each type:
//
//   - A struct has a field whose name starts with a lower-case letter. Gob does
//     not send such a field, so the receiver sees zero.
//   - The target of a Decode is not zero. Gob does not send zero values, so old
//     contents stay. For example, a reply that is used twice keeps fields of the
//     first answer. The check includes elements of a slice up to its capacity.
//
// # Speed
//
// A new gob encoder describes each type anew, and a new gob decoder compiles a
// program from the description. Both take tens of microseconds for a message of
// tens of bytes. Package labgob makes the descriptions of a type once and keeps
// the bytes. The value behind them is written by labgob itself, in a third of gob's
// time for a log of interface values. Package gob encodes types that encode themselves,
// and the first value of each type. A decoder that has read the
// same descriptions waits on a free list and gets only the value. A decoder that
// has met an error is discarded.
//
// # Hostile input
//
// A scanner walks a message before gob sees the message, and compares each count
// with the bytes that are left. Malformed, truncated or hostile input therefore
// gives an error, and a decode allocates memory in proportion to its input.
//
// All functions may be called concurrently.
package labgob
