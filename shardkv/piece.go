package shardkv

import (
	"bytes"
	"hash/crc32"
	"slices"
)

// A shard goes to its new owner in pieces, one after the other, each an entry of
// that group's log: between two of them others are served, and no message is so
// large that a heartbeat behind it comes too late. The pieces that have come are
// a part of the replicated state, so whoever leads goes on where they end.

// pieceSize is how many bytes of an encoded shard go at a time.
const pieceSize = 256 << 10

// Piece is a part of an encoded shard.
type Piece struct {
	Offset int    // where it belongs
	Size   int    // of the whole
	Sum    uint32 // checksum of the whole
	Data   []byte
}

// wellFormed says whether a piece lies within its whole, and is something of it.
func (p *Piece) wellFormed() bool {
	return p != nil && p.Offset >= 0 && len(p.Data) > 0 && p.Offset <= p.Size-len(p.Data)
}

// piece returns the piece of an encoded shard that begins at offset.
func piece(encoded []byte, sum uint32, offset int) *Piece {
	end := min(offset+pieceSize, len(encoded))
	return &Piece{Offset: offset, Size: len(encoded), Sum: sum, Data: encoded[offset:end]}
}

// pieces are a byte string in pieces. So it is encoded: the decoder takes time in
// the square of a byte string's length, as it grows it by 256 KiB at a time.
type pieces [][]byte

func cut(encoded []byte) pieces { return slices.Collect(slices.Chunk(encoded, pieceSize)) }

func (ps pieces) join() []byte { return bytes.Join(ps, nil) }

func (ps pieces) len() int {
	n := 0
	for _, p := range ps {
		n += len(p)
	}
	return n
}

// incoming is what has come of a shard that is on its way.
type incoming struct {
	Size int
	Sum  uint32
	Data pieces // from the beginning on; only added to
}

// wants says what to do with a piece of the data that is handed over for the
// tenure that begins at configuration num, when the group has taken configuration
// have: collect it (true), or answer.
func (s *shard) wants(num, have int, p *Piece) (Verdict, bool) {
	status, wanted := s.awaits(num, have)
	if !wanted || p.Offset == 0 && !s.incoming.of(p) {
		return status, wanted // a whole of which nothing is here begins anew
	}
	switch {
	case !s.incoming.of(p):
		return Malformed, false
	case p.Offset < s.incoming.Data.len():
		return Partial, false
	case p.Offset > s.incoming.Data.len():
		return Arriving, false // what comes before is in the log, if it is not here
	}
	return Partial, true
}

// of says whether it is what has come of a piece's whole.
func (in *incoming) of(p *Piece) bool {
	return in != nil && in.Size == p.Size && in.Sum == p.Sum
}

// collect adds a piece that is wanted. If that was the last it returns the whole,
// and keeps none of it.
func (s *shard) collect(p *Piece) (encoded []byte, whole bool) {
	if p.Offset == 0 {
		s.incoming = &incoming{Size: p.Size, Sum: p.Sum}
	}
	s.incoming.Data = append(s.incoming.Data, p.Data)
	if p.Offset+len(p.Data) < p.Size {
		return nil, false
	}
	encoded = s.incoming.Data.join()
	s.incoming = nil
	return encoded, true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(encoded []byte) uint32 { return crc32.Checksum(encoded, castagnoli) }
