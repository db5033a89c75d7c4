package labtrace

import (
	"encoding/binary"
	"math"
)

// A reader decodes msgpack without a Go type. This package is a part of handouts, which
// have no encoder of msgpack. bad is set after data that are no msgpack.
type reader struct {
	data  []byte
	depth int
	bad   bool
}

// maxNesting bounds the depth of a value.
const maxNesting = 16

// viewMsgpack returns the only value in data, with maps of type map[any]any and lists of type []any.
func viewMsgpack(data []byte) (value any, ok bool) {
	r := reader{data: data}
	value = r.value()
	return value, !r.bad && len(r.data) == 0
}

// take returns the next n bytes.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.data)) {
		r.bad, r.data = true, nil
		return nil
	}
	taken := r.data[:n]
	r.data = r.data[n:]
	return taken
}

// number reads an unsigned number of 1 << size bytes.
func (r *reader) number(size byte) uint64 {
	var wide [8]byte
	taken := r.take(1 << size)
	copy(wide[8-len(taken):], taken)
	return binary.BigEndian.Uint64(wide[:])
}

// The first bytes of msgpack's values. A range of sizes begins with one byte.
const (
	mapFixed, listFixed, textFixed = 0x80, 0x90, 0xa0
	nothing, no, yes               = 0xc0, 0xc2, 0xc3
	bytes8, float32s, uint8s       = 0xc4, 0xca, 0xcc
	int8s, text8, list16, map16    = 0xd0, 0xd9, 0xdc, 0xde
	negative                       = 0xe0
)

func (r *reader) value() any {
	first := r.take(1)
	if r.depth++; r.bad || r.depth > maxNesting {
		r.bad = true
		return nil
	}
	defer func() { r.depth-- }()
	switch b := first[0]; {
	case b < mapFixed || b >= negative:
		return int64(int8(b))
	case b < listFixed:
		return r.pairs(uint64(b - mapFixed))
	case b < textFixed:
		return r.list(uint64(b - listFixed))
	case b < nothing:
		return string(r.take(uint64(b - textFixed)))
	case b == nothing:
		return nil
	case b == no || b == yes:
		return b == yes
	case b >= bytes8 && b < bytes8+3:
		return r.take(r.number(b - bytes8))
	case b == float32s:
		return float64(math.Float32frombits(uint32(r.number(2))))
	case b == float32s+1:
		return math.Float64frombits(r.number(3))
	case b >= uint8s && b < uint8s+4:
		return r.number(b - uint8s)
	case b >= int8s && b < int8s+4:
		unused := 64 - 8<<(b-int8s)
		return int64(r.number(b-int8s)<<unused) >> unused
	case b >= text8 && b < text8+3:
		return string(r.take(r.number(b - text8)))
	case b == list16 || b == list16+1:
		return r.list(r.number(b - list16 + 1))
	case b == map16 || b == map16+1:
		return r.pairs(r.number(b - map16 + 1))
	}
	r.bad = true
	return nil
}

func (r *reader) list(n uint64) any {
	list := []any{}
	for ; n > 0 && !r.bad; n-- {
		list = append(list, r.value())
	}
	return list
}

func (r *reader) pairs(n uint64) any {
	m := make(map[any]any)
	for ; n > 0 && !r.bad; n-- {
		switch key := r.value().(type) {
		case string, int64, uint64:
			m[key] = r.value()
		default:
			r.bad = true
		}
	}
	return m
}
