package labgob

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A schema is the meaning of a run of type definitions. It keeps a free list of
// decoders that have read the definitions.
type schema struct {
	types map[int]*wireType

	free freeList[warmDecoder]
}

type warmDecoder struct {
	dec  *gob.Decoder
	feed feeder
}

// maxSchemas and maxDefinitions bound the cache of schemas, because definitions
// come from outside. A cache of maxSchemas schemas is emptied. A schema whose
// definitions are longer than maxDefinitions bytes is not cached.
const (
	maxSchemas     = 1024
	maxDefinitions = 16 << 10
)

// schemas caches schemas by their definitions. A schema joins the cache when a
// value has been decoded with it.
var schemas struct {
	sync.RWMutex
	m map[string]*schema
}

// basics is the schema without definitions.
var basics = new(schema)

// cachedSchema returns the schema for definitions, or nil if the cache lacks
// the schema.
func cachedSchema(defs []byte) *schema {
	schemas.RLock()
	defer schemas.RUnlock()
	return schemas.m[string(defs)]
}

// schemaOf returns the schema for definitions and reports whether the schema
// came from the cache.
func schemaOf(defs []byte) (*schema, bool, error) {
	if len(defs) == 0 {
		return basics, true, nil
	}
	if s := cachedSchema(defs); s != nil {
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

// decode decodes one value message, already checked by the scanner, into e.
func (s *schema) decode(defs, value []byte, e any) error {
	w := s.free.get()
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
	if len(value) <= maxKept {
		s.free.put(w)
	}
	return nil
}

// decodeSafely calls dec.Decode(e) and turns panics into errors. Gob panics on
// input that gob does not expect, and a GobDecode method may panic.
func decodeSafely(dec *gob.Decoder, e any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrMalformed, r)
		}
	}()
	if err = dec.Decode(e); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = valueError{err}
	}
	return err
}

// A valueError is an error inside a complete value, typically from a GobDecode
// method that returned io.EOF. A valueError never matches io.EOF or
// io.ErrUnexpectedEOF, because these errors report the end of the stream.
type valueError struct{ err error }

func (e valueError) Error() string { return "labgob: inside a value: " + e.err.Error() }

func (e valueError) Is(target error) bool {
	return target != io.EOF && target != io.ErrUnexpectedEOF && errors.Is(e.err, target)
}

func (e valueError) As(target any) bool { return errors.As(e.err, target) }

// next reads messages up to the first message with a value. dec.value holds
// this message until the next call.
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
		if err := dec.define(dec.value); err != nil {
			return err
		}
	}
}

// payload returns a message without its count.
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
