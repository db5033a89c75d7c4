package shardkv

import (
	"bytes"
	"hash/crc32"
	"slices"
)

// A shard moves in pieces. Each piece is an entry in the log of the new owner. The
// group serves other shards between two pieces, and no message is large enough to
// delay the heartbeat behind it for long. Stored pieces are part of the replicated
// state, so a new leader of either group continues where the last one stopped.

// pieceSize is the size of a piece of an encoded shard, in bytes.
const pieceSize = 256 << 10

// Piece is a part of an encoded shard.
type Piece struct {
	Offset int    // position in the encoded shard
	Size   int    // size of the encoded shard
	Sum    uint32 // checksum of the encoded shard
	Data   []byte
}

// wellFormed reports whether a piece lies within the encoded shard and is not
// empty.
func (p *Piece) wellFormed() bool {
	return p != nil && p.Offset >= 0 && len(p.Data) > 0 && p.Offset <= p.Size-len(p.Data)
}

// piece returns the piece of an encoded shard that begins at offset.
func piece(encoded []byte, sum uint32, offset int) *Piece {
	end := min(offset+pieceSize, len(encoded))
	return &Piece{Offset: offset, Size: len(encoded), Sum: sum, Data: encoded[offset:end]}
}

// pieces are a long byte string in pieces, for encoding. The decoder grows a byte
// string by 256 KiB at a time, so decoding a single long one would take quadratic
// time.
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

// incoming holds the pieces of a shard that is arriving.
type incoming struct {
	Size int
	Sum  uint32
	Data pieces // in order, without gaps; only appended to
}

// wants decides about a piece of data for the tenure that begins at configuration
// num, while the group has configuration have. The piece is to be stored if wants
// returns true. Otherwise the code is the answer to the sender.
func (s *shard) wants(num, have int, p *Piece) (Code, bool) {
	code, wanted := s.awaits(num, have)
	if !wanted || p.Offset == 0 && !s.incoming.matches(p) {
		return code, wanted // the first piece of another encoding starts over
	}
	switch {
	case !s.incoming.matches(p):
		return Malformed, false
	case p.Offset < s.incoming.Data.len():
		return Partial, false
	case p.Offset > s.incoming.Data.len():
		return Arriving, false // earlier pieces may still be in the log
	}
	return Partial, true
}

// matches reports whether a piece belongs to the same encoded shard as the stored
// pieces.
func (in *incoming) matches(p *Piece) bool {
	return in != nil && in.Size == p.Size && in.Sum == p.Sum
}

// collect stores a wanted piece. After the last piece, collect returns the encoded
// shard and discards the pieces.
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
