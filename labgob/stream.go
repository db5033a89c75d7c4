package labgob

import (
	"encoding/gob"
	"maps"
)

// A stream holds the type definitions that one sender has sent so far, and
// decodes values with the definitions.
//
// Until the first value has been decoded, the definitions select a schema, and
// the stream shares decoders with other streams that start alike. Once more
// definitions follow, the stream gets a gob decoder of its own. This decoder
// reads each definition once.
type stream struct {
	defs    []byte  // the definitions, as messages; those that private lacks once there is one
	schema  *schema // the meaning of defs; nil until a value needs it
	known   bool    // the schema is in the cache
	used    bool    // the schema has decoded a value
	private *warmDecoder
	types   map[int]*wireType // all types that private knows or will read
}

// define adds definitions that stood in front of a value.
func (s *stream) define(defs []byte) error {
	if !s.used {
		s.defs, s.schema = append(s.defs, defs...), nil
		return nil
	}
	types := s.types
	if s.private == nil {
		types = make(map[int]*wireType)
		maps.Copy(types, s.schema.types)
	}
	scan := scanner{types: types, owned: true}
	if err := scan.definitions(defs); err != nil {
		return err
	}
	s.adopt(defs, scan.types)
	return nil
}

// adopt adds definitions that a scanner has checked. The types include the
// defined types.
func (s *stream) adopt(defs []byte, types map[int]*wireType) {
	s.defs = append(s.defs, defs...)
	if !s.used {
		if s.schema = cachedSchema(s.defs); s.schema == nil {
			s.schema, s.known = &schema{types: types}, false
		}
		return
	}
	s.types = types
	if s.private == nil {
		s.private = new(warmDecoder)
		s.private.dec = gob.NewDecoder(&s.private.feed)
	}
}

// decode decodes a value into e. The caller passes the first message of the
// value, and decode reads further messages from in. A nil in holds no messages.
func (s *stream) decode(first []byte, in *frames, e any) (err error) {
	if s.schema == nil {
		if s.schema, s.known, err = schemaOf(s.defs); err != nil {
			return err
		}
	}
	scan := scanner{types: s.schema.types}
	if s.private != nil {
		scan.types, scan.owned = s.types, true
	}
	value, err := scan.whole(first, in)
	if len(scan.inline) > 0 {
		s.adopt(scan.inline, scan.types)
	}
	if err != nil {
		return err
	}
	if len(scan.inline) > 0 || scan.nils {
		if value, err = rewrite(scan.types, value, e); err != nil {
			return err
		}
	}
	if s.private != nil {
		s.private.feed.b = append(clone(s.defs), value...)
		s.defs = s.defs[:0]
		return decodeSafely(s.private.dec, e)
	}
	s.used = true
	err = s.schema.decode(s.defs, value, e)
	if err == nil && !s.known {
		s.schema.keep(s.defs)
		s.known = true
	}
	return err
}
