package rsm

import (
	"fmt"

	"raftlab/internal/msgpack"
)

// kind tells a service's commands from those of this package.
type kind uint8

const (
	command    kind = iota
	beginTerm       // a new leader's, which changes nothing (section 8)
	endSession      // forget a client
)

// request is what a Replica puts into the log for a command.
type request[C any] struct {
	Kind    kind
	ID      uint64 // of this submission: tells a waiting Submit its own request from another
	Client  uint64
	Seq     uint64
	Command C
}

// encode returns req as the command for Raft: bytes, so that no registry of
// types is needed.
func (req *request[C]) encode() []byte {
	data, err := msgpack.Encode(req)
	if err != nil {
		panic(fmt.Sprintf("rsm: a command of type %T cannot be encoded: %v", req.Command, err))
	}
	return data
}

// decode reads what encode wrote.
func (req *request[C]) decode(data []byte) error { return msgpack.Decode(data, req) }
