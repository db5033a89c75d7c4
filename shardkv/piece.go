package shardkv

import "hash/crc32"

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

// incoming is what has come of a shard that is on its way.
type incoming struct {
	Size int
	Sum  uint32
	Data []byte // from the beginning on; only added to
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
	case p.Offset < len(s.incoming.Data):
		return Partial, false
	case p.Offset > len(s.incoming.Data):
		return Arriving, false // what comes before is in the log, if it is not here
	}
	return Partial, true
}

// of says whether it is what has come of a piece's whole.
func (in *incoming) of(p *Piece) bool {
	return in != nil && in.Size == p.Size && in.Sum == p.Sum
}

// collect adds a piece that is wanted, and returns the whole if that was the last.
func (s *shard) collect(p *Piece) (encoded []byte, whole bool) {
	if p.Offset == 0 {
		s.incoming = &incoming{Size: p.Size, Sum: p.Sum}
	}
	s.incoming.Data = append(s.incoming.Data, p.Data...)
	return s.incoming.Data, len(s.incoming.Data) == p.Size
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(encoded []byte) uint32 { return crc32.Checksum(encoded, castagnoli) }
