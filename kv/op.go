package kv

import "fmt"

// Kind is the kind of an operation.
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

// Op is one operation. The functions below return operations.
type Op struct {
	Kind  Kind
	Key   string // of a scan: the first key
	Value string
	// Conditional restricts a write to a key with the version Version. Version 0
	// stands for a missing key.
	Conditional bool
	Version     uint64
	End         string // of a scan: the end, exclusive; "": after the last key
	Limit       int    // of a scan: the maximum number of keys; 0: [MaxScan]
	// Tag is copied to the result. A client session answers a repeated command with
	// the first result, and the tag shows whether the first command was the same.
	Tag uint64
}

// MaxScan bounds the number of keys in the result of a scan.
const MaxScan = 1000

// MaxScanBytes bounds the keys and values in the result of a scan, in bytes. A
// larger key and value are returned alone.
const MaxScanBytes = 4 << 20

// Get returns the operation that reads a key.
func Get(key string) Op { return Op{Kind: KindGet, Key: key} }

// Put sets a key's value.
func Put(key, value string) Op { return Op{Kind: KindPut, Key: key, Value: value} }

// Append adds value to the end of the key's value.
func Append(key, value string) Op { return Op{Kind: KindAppend, Key: key, Value: value} }

// Delete removes a key.
func Delete(key string) Op { return Op{Kind: KindDelete, Key: key} }

// Scan reads at most limit keys from start on and below end. An empty end stands
// for no end. A limit of 0 or above MaxScan stands for MaxScan.
func Scan(start, end string, limit int) Op {
	return Op{Kind: KindScan, Key: start, End: end, Limit: limit}
}

// IfVersion restricts a write to a key with this version. Version 0 stands for a
// missing key.
func (op Op) IfVersion(version uint64) Op {
	op.Conditional, op.Version = true, version
	return op
}

// ReadOnly reports whether the operation is a read.
func (op Op) ReadOnly() bool { return op.Kind == KindGet || op.Kind == KindScan }

// Code is the outcome of an operation.
type Code uint8

const (
	// OK means that the operation was executed.
	OK Code = iota
	// NotFound means that a Get or a Delete named a missing key.
	NotFound
	// VersionMismatch means that a conditional write found another version. The
	// result has the version.
	VersionMismatch
	// TooLarge means that the key or the new value is over the store's limit.
	TooLarge
	// Invalid means that the store has no such operation.
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

// Result is an operation's result. With a code other than OK nothing has changed.
type Result struct {
	Code Code
	// Value is the value for a Get.
	Value string
	// Version is the key's version after the operation; 0: the key is missing.
	Version uint64
	// Pairs are the result of a Scan, in the order of the keys.
	Pairs []Pair
	// More means that a Scan reached a limit. The next Scan starts after the last key.
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
