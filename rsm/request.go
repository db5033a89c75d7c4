package rsm

import (
	"fmt"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// kind tells a service's commands from those of this package.
type kind uint8

const (
	command    kind = iota
	beginTerm       // a new leader's, which changes nothing (section 8)
	endSession      // forget a client
)

// Request is what a Replica puts into the log for a command.
type Request[C any] struct {
	Kind    kind
	ID      uint64 // of this submission: tells a waiting Submit its own request from another
	Client  uint64
	Seq     uint64
	Command C
}

// msgpack writes a struct as the array of its fields, in their order, a
// service's commands and results too.
var msgpack = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.StructToArray = true
	return h
}()

// encodeRequest returns req as the command for Raft: bytes, so that no registry
// of types is needed.
func encodeRequest[C any](req Request[C]) []byte {
	data, err := marshal(&req)
	if err != nil {
		panic(fmt.Sprintf("rsm: a command of type %T cannot be encoded: %v", req.Command, err))
	}
	return data
}

func marshal(v any) ([]byte, error) {
	var data []byte
	err := codec.NewEncoderBytes(&data, msgpack).Encode(v)
	return data, err
}

func unmarshal(data []byte, v any) error {
	return codec.NewDecoderBytes(data, msgpack).Decode(v)
}
