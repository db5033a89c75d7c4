// Package rpc has the requests, replies and errors of the key/value services.
package rpc

// Err is the outcome of an operation.
type Err string

// The outcomes. The constants have no type, as in the course.
const (
	OK         = "OK"
	ErrNoKey   = "ErrNoKey"   // the key is missing, and the version is not 0
	ErrVersion = "ErrVersion" // the key has another version

	// ErrMaybe means that a Put may or may not have taken effect.
	ErrMaybe = "ErrMaybe"

	ErrWrongLeader = "ErrWrongLeader" // the server does not lead
	ErrWrongGroup  = "ErrWrongGroup"  // the group does not serve the key
)

// Tversion is the version of a key: the number of Puts since the key was missing.
type Tversion uint64

// PutArgs is the request of a Put.
type PutArgs struct {
	Key     string
	Value   string
	Version Tversion
}

// PutReply is the reply to a Put.
type PutReply struct {
	Err Err
}

// GetArgs is the request of a Get.
type GetArgs struct {
	Key string
}

// GetReply is the reply to a Get.
type GetReply struct {
	Value   string
	Version Tversion
	Err     Err
}
