package kv

import "fmt"

// Kind is what an operation does.
type Kind uint8

const (
	KindGet    Kind = iota // read a key
	KindPut                // set a key's value
	KindAppend             // add to the end of a key's value; a missing key counts as ""
	KindDelete             // remove a key
	KindScan               // read the keys of a range, in order
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	switch k {
	case KindGet:
		return "get"
	case KindPut:
		return "put"
	case KindAppend:
		return "append"
	case KindDelete:
		return "delete"
	case KindScan:
		return "scan"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Op is one operation. The functions below make them.
type Op struct {
	Kind  Kind
	Key   string // of a scan: where it begins, inclusive
	Value string
	// Conditional makes a write happen only if the key's version is Version; 0
	// stands for a key that is not there.
	Conditional bool
	Version     uint64
	End         string // of a scan: where it ends, exclusive; "": at the last key
	Limit       int    // of a scan: at most so many keys; 0: [MaxScan]
	// Tag comes back in the result. A client session that answers a repeated
	// command with the result of the first so tells if that was another command.
	Tag uint64
}

// MaxScan is the most keys that one scan returns.
const MaxScan = 1000

// MaxScanBytes is about the most bytes, of keys and values, that one scan
// returns; it returns one key at least.
const MaxScanBytes = 4 << 20

// Get reads a key.
func Get(key string) Op { return Op{Kind: KindGet, Key: key} }

// Put sets a key's value.
func Put(key, value string) Op { return Op{Kind: KindPut, Key: key, Value: value} }

// Append adds value to the end of the key's value.
func Append(key, value string) Op { return Op{Kind: KindAppend, Key: key, Value: value} }

// Delete removes a key.
func Delete(key string) Op { return Op{Kind: KindDelete, Key: key} }

// Scan reads the keys from start on that are below end ("": no end), at most
// limit of them (0, or above MaxScan: MaxScan).
func Scan(start, end string, limit int) Op {
	return Op{Kind: KindScan, Key: start, End: end, Limit: limit}
}

// IfVersion makes a write happen only if the key's version is version; 0: only
// if the key is not there.
func (op Op) IfVersion(version uint64) Op {
	op.Conditional, op.Version = true, version
	return op
}

// ReadOnly says that the operation changes nothing.
func (op Op) ReadOnly() bool { return op.Kind == KindGet || op.Kind == KindScan }

// Code is the outcome of an operation.
type Code uint8

const (
	// OK: it was done.
	OK Code = iota
	// NotFound: a Get or a Delete of a key that is not there.
	NotFound
	// VersionMismatch: a conditional write found another version, which is in
	// the result.
	VersionMismatch
	// TooLarge: the key or the value, as it would be, is over the store's limit.
	TooLarge
	// Invalid: the store knows no such operation.
	Invalid
)

// String returns the code in words.
func (s Code) String() string {
	switch s {
	case OK:
		return "ok"
	case NotFound:
		return "not found"
	case VersionMismatch:
		return "version mismatch"
	case TooLarge:
		return "too large"
	case Invalid:
		return "invalid operation"
	}
	return fmt.Sprintf("Code(%d)", uint8(s))
}

// Result is an operation's result. Anything but OK has changed nothing.
type Result struct {
	Code Code
	// Value is what a Get found.
	Value string
	// Version is the key's version after the operation; 0: it is not there.
	Version uint64
	// Pairs are what a Scan found, in the order of the keys.
	Pairs []Pair
	// More says that a Scan stopped at a limit: the next one begins after the last pair's key.
	More bool
	// Tag is the operation's.
	Tag uint64
}

// Pair is a key with its value and version.
type Pair struct {
	Key     string
	Value   string
	Version uint64
}
