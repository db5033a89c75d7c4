package labgob

import (
	"encoding/gob"
	"fmt"
	"io"
	"sync"
)

// A schema is what a run of type definitions means, and decoders that have
// read them.
type schema struct {
	types map[int]*wireType

	mu   sync.Mutex
	free []*warmDecoder
}

type warmDecoder struct {
	dec  *gob.Decoder
	feed feeder
}

// maxSchemas and maxDefinitions bound what is kept of definitions that come
// from outside: how many, after which all are forgotten, and how long each.
const (
	maxSchemas     = 1024
	maxDefinitions = 16 << 10
)

// schemas holds schemas by their definitions; one is added when a value has
// been decoded by it.
var schemas struct {
	sync.RWMutex
	m map[string]*schema
}

// basics is the schema without definitions.
var basics = new(schema)

// schemaOf returns the schema for definitions, and whether it is known.
func schemaOf(defs []byte) (*schema, bool, error) {
	if len(defs) == 0 {
		return basics, true, nil
	}
	schemas.RLock()
	s := schemas.m[string(defs)]
	schemas.RUnlock()
	if s != nil {
		return s, true, nil
	}
	scan := scanner{owned: true, types: make(map[int]*wireType)}
	if err := scan.definitions(defs); err != nil {
		return nil, false, err
	}
	return &schema{types: scan.types}, false, nil
}

// keep makes a schema known.
func (s *schema) keep(defs []byte) {
	if len(defs) > maxDefinitions {
		return
	}
	schemas.Lock()
	defer schemas.Unlock()
	if schemas.m == nil || len(schemas.m) >= maxSchemas {
		schemas.m = make(map[string]*schema)
	}
	schemas.m[string(defs)] = s
}

// decode decodes one value message, which the scanner has passed, into e.
func (s *schema) decode(defs, value []byte, e any) error {
	s.mu.Lock()
	var w *warmDecoder
	if n := len(s.free); n > 0 {
		w = s.free[n-1]
		s.free = s.free[:n-1]
	}
	s.mu.Unlock()
	if w != nil {
		w.feed.b = value
	} else {
		w = new(warmDecoder)
		w.dec = gob.NewDecoder(&w.feed)
		w.feed.b = append(clone(defs), value...)
	}
	if err := decodeSafely(w.dec, e); err != nil {
		return err // and w is dropped with it
	}
	w.feed.b = nil
	if len(value) > maxKept {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < maxFree {
		s.free = append(s.free, w)
	}
	return nil
}

// decodeSafely is dec.Decode(e), with panics as errors: gob's own for input
// that it does not expect, and those of a type's GobDecode.
func decodeSafely(dec *gob.Decoder, e any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrMalformed, r)
		}
	}()
	return dec.Decode(e)
}

// decode reads the definitions that are new, and the value after them.
func (dec *LabDecoder) decode(e any) error {
	if err := dec.next(); err != nil {
		return err
	}
	if dec.private != nil {
		defs := dec.defs[dec.fed:]
		dec.fed = len(dec.defs)
		return dec.private.decode(defs, dec.value, &dec.in, e)
	}
	cached := true
	if dec.schema == nil {
		var err error
		if dec.schema, cached, err = schemaOf(dec.defs); err != nil {
			return err
		}
	}
	scan := scanner{types: dec.schema.types}
	value, err := scan.whole(dec.value, &dec.in)
	if err != nil {
		return err
	}
	if scan.inline {
		dec.private, dec.fed = newPrivateStream(scan.types), len(dec.defs)
		return dec.private.feedAndDecode(dec.defs, value, e)
	}
	err = dec.schema.decode(dec.defs, value, e)
	if err == nil && !cached {
		dec.schema.keep(dec.defs)
	}
	return err
}

// next reads messages up to the first with a value, which stays in dec.value
// until the next call.
func (dec *LabDecoder) next() (err error) {
	if cap(dec.value) > maxKept {
		dec.value = nil
	}
	for first := true; ; first = false {
		if dec.value, err = dec.in.next(dec.value[:0]); err != nil {
			if !first {
				err = unexpected(err)
			}
			return err
		}
		_, _, id, ok := header(dec.value)
		if !ok {
			return fmt.Errorf("%w: message without a type", ErrMalformed)
		}
		if id >= 0 {
			return nil
		}
		dec.defs = append(dec.defs, dec.value...)
		dec.schema = nil
	}
}

// A privateStream decodes one stream with a gob decoder of its own. It takes
// over for good once type definitions come in the middle of a value, as gob
// writes them for what interfaces hold: then what defines types is no longer a
// run of bytes that other streams would share.
type privateStream struct {
	warm  warmDecoder
	types map[int]*wireType
}

func newPrivateStream(types map[int]*wireType) *privateStream {
	p := &privateStream{types: types}
	p.warm.dec = gob.NewDecoder(&p.warm.feed)
	return p
}

func (p *privateStream) decode(defs, value []byte, in *frames, e any) error {
	scan := scanner{types: p.types, owned: true}
	if err := scan.definitions(defs); err != nil {
		return err
	}
	value, err := scan.whole(value, in)
	if err != nil {
		return err
	}
	return p.feedAndDecode(defs, value, e)
}

func (p *privateStream) feedAndDecode(defs, value []byte, e any) error {
	p.warm.feed.b = append(clone(defs), value...)
	return decodeSafely(p.warm.dec, e)
}

// payload returns what follows the count of a message.
func payload(message []byte) []byte {
	_, n := uvarint(message)
	return message[n:]
}

// unexpected is the error for a stream that ends in the middle of a value.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
