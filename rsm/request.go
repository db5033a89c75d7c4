package rsm

import (
	"fmt"

	"raftlab/internal/msgpack"
)

// kind distinguishes a service's commands from those of this package.
type kind uint8

const (
	command    kind = iota
	noOp            // the first command of a leader's term, without effect (section 8)
	endSession      // ends a client's session
)

// request is the content of a log entry.
type request[C any] struct {
	Kind    kind
	ID      uint64 // random, so that each submission finds its own entry
	Client  uint64
	Seq     uint64
	Command C
}

func (req *request[C]) encode() []byte {
	data, err := msgpack.Encode(req)
	if err != nil {
		panic(fmt.Sprintf("rsm: a command of type %T cannot be encoded: %v", req.Command, err))
	}
	return data
}

func (req *request[C]) decode(data []byte) error { return msgpack.Decode(data, req) }
