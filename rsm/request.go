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

// request is what a Replica puts into the log for a command.
type request[C any] struct {
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

// encode returns req as the command for Raft: bytes, so that no registry of
// types is needed.
func (req *request[C]) encode() []byte {
	var data []byte
	if err := codec.NewEncoderBytes(&data, msgpack).Encode(req); err != nil {
		panic(fmt.Sprintf("rsm: a command of type %T cannot be encoded: %v", req.Command, err))
	}
	return data
}

// decode reads what encode wrote.
func (req *request[C]) decode(data []byte) error {
	dec := codec.NewDecoderBytes(data, msgpack)
	if err := dec.Decode(req); err != nil {
		return err
	}
	if n := dec.NumBytesRead(); n != len(data) {
		return fmt.Errorf("%d bytes follow the command", len(data)-n)
	}
	return nil
}
