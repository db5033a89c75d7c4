package labgob_test

import (
	"bytes"
	"encoding/gob"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/labgob"
)

// A chooser turns fuzz input into choices. At the end of the input every
// choice is 0.
type chooser struct{ data []byte }

func (c *chooser) choose(n int) int {
	if len(c.data) == 0 {
		return 0
	}
	b := c.data[0]
	c.data = c.data[1:]
	return int(b) % n
}

// newType chooses a struct type with some fields.
func (c *chooser) newType(depth int) reflect.Type {
	var fields []reflect.StructField
	for i := range 1 + c.choose(4) {
		fields = append(fields, reflect.StructField{Name: string(rune('A' + i)), Type: c.fieldType(depth)})
	}
	return reflect.StructOf(fields)
}

func (c *chooser) fieldType(depth int) reflect.Type {
	if depth < 3 {
		switch c.choose(12) {
		case 1:
			return c.newType(depth + 1)
		case 2:
			return reflect.PointerTo(c.newType(depth + 1))
		case 3:
			return reflect.SliceOf(c.newType(depth + 1))
		case 4:
			return reflect.MapOf(reflect.TypeFor[string](), c.newType(depth+1))
		case 5:
			return reflect.ArrayOf(2, c.newType(depth+1))
		}
	}
	basic := []reflect.Type{
		reflect.TypeFor[[]any](), reflect.TypeFor[int](), reflect.TypeFor[any](), reflect.TypeFor[map[string]any](),
		reflect.TypeFor[[2]any](), reflect.TypeFor[string](), reflect.TypeFor[[][]any](), reflect.TypeFor[time.Time](),
		reflect.TypeFor[Op](), reflect.TypeFor[Box](), reflect.TypeFor[[]byte](), reflect.TypeFor[map[any]int](),
	}
	return basic[c.choose(len(basic))]
}

// narrow removes fields from the struct types in t, but never all of them.
func (c *chooser) narrow(t reflect.Type) reflect.Type {
	if t.Name() != "" {
		return t
	}
	switch t.Kind() {
	case reflect.Pointer:
		return reflect.PointerTo(c.narrow(t.Elem()))
	case reflect.Slice:
		return reflect.SliceOf(c.narrow(t.Elem()))
	case reflect.Array:
		return reflect.ArrayOf(t.Len(), c.narrow(t.Elem()))
	case reflect.Map:
		return reflect.MapOf(t.Key(), c.narrow(t.Elem()))
	case reflect.Struct:
		var kept []reflect.StructField
		for i := range t.NumField() {
			if c.choose(2) == 1 || i == t.NumField()-1 && len(kept) == 0 {
				f := t.Field(i)
				kept = append(kept, reflect.StructField{Name: f.Name, Type: c.narrow(f.Type)})
			}
		}
		return reflect.StructOf(kept)
	}
	return t
}

// fill chooses the contents of v.
func (c *chooser) fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Int:
		v.SetInt(int64(c.choose(200) - 100))
	case reflect.String:
		v.SetString([]string{"", "x", "a longer text"}[c.choose(3)])
	case reflect.Interface:
		if x := c.content(depth); x != nil {
			v.Set(reflect.ValueOf(x))
		}
	case reflect.Pointer:
		if c.choose(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			c.fill(v.Elem(), depth)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), c.choose(4), 4))
		for i := range v.Len() {
			c.fill(v.Index(i), depth)
		}
	case reflect.Array:
		for i := range v.Len() {
			c.fill(v.Index(i), depth)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range c.choose(3) {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			if key.Kind() == reflect.Interface {
				key.Set(reflect.ValueOf(c.choose(3)))
			} else {
				c.fill(key, depth)
			}
			c.fill(elem, depth)
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(int64(c.choose(5)), 0).UTC()))
			return
		}
		for i := range v.NumField() {
			c.fill(v.Field(i), depth)
		}
	case reflect.Uint8:
		v.SetUint(uint64(c.choose(256)))
	}
}

// content chooses the value in an interface.
func (c *chooser) content(depth int) any {
	if depth > 4 {
		return 1
	}
	switch c.choose(7) {
	case 1:
		return c.choose(100)
	case 2:
		return Op{Key: "k", Seq: c.choose(3)}
	case 3:
		return Box{c.content(depth + 1)}
	case 4:
		return []any{c.content(depth + 1), c.content(depth + 1)}
	case 5:
		return Wide{List: []any{c.content(depth + 1)}, Last: c.choose(2)}
	case 6:
		return map[string]int{"m": c.choose(3)}
	}
	return nil
}

// project copies from a value to one of a narrower type.
func project(to, from reflect.Value) {
	if to.Type() == from.Type() {
		to.Set(from)
		return
	}
	switch to.Kind() {
	case reflect.Pointer:
		if !from.IsNil() {
			to.Set(reflect.New(to.Type().Elem()))
			project(to.Elem(), from.Elem())
		}
	case reflect.Slice:
		to.Set(reflect.MakeSlice(to.Type(), from.Len(), from.Len()))
		fallthrough
	case reflect.Array:
		for i := range from.Len() {
			project(to.Index(i), from.Index(i))
		}
	case reflect.Map:
		to.Set(reflect.MakeMap(to.Type()))
		for it := from.MapRange(); it.Next(); {
			elem := reflect.New(to.Type().Elem()).Elem()
			project(elem, it.Value())
			to.SetMapIndex(it.Key(), elem)
		}
	case reflect.Struct:
		for i := range to.NumField() {
			project(to.Field(i), from.FieldByName(to.Type().Field(i).Name))
		}
	}
}

// confusesGob reports whether gob decodes a value of type wide into a narrow
// wrongly because of a fault of encoding/gob. Gob compiles all fields of a
// target struct with one table from local types to decoding operations
// (inProgress in decOpFor). If two fields of the target contain the same type,
// and the sender's types for the two differ, then gob decodes the second with
// the operation for the first. See TestOneTypeForTwo.
func confusesGob(narrow, wide reflect.Type) bool {
	if narrow == wide {
		return false
	}
	sources := make(map[reflect.Type]reflect.Type)
	for i := range narrow.NumField() {
		f := narrow.Field(i)
		from, _ := wide.FieldByName(f.Name)
		if confusesTable(sources, f.Type, from.Type) {
			return true
		}
	}
	return false
}

// confusesTable is confusesGob for a part of a field. The map sources holds the
// sender's type for each local type in gob's table.
func confusesTable(sources map[reflect.Type]reflect.Type, to, from reflect.Type) bool {
	local := to
	for to.Kind() == reflect.Pointer {
		to, from = to.Elem(), from.Elem()
	}
	if old, ok := sources[local]; ok {
		return old != from
	}
	sources[local] = from
	switch to.Kind() {
	case reflect.Map, reflect.Slice, reflect.Array: // all keys are basic types
		return confusesTable(sources, to.Elem(), from.Elem())
	case reflect.Struct:
		return confusesGob(to, from)
	}
	return false
}

// FuzzEvolve sends a value of a chosen type to a receiver whose type lacks some
// fields. The receiver must see the result of gob for a value without these
// fields. Gob cannot decode the original value, because gob cannot skip nil
// interfaces. A narrower type that confuses gob is not tried.
func FuzzEvolve(f *testing.F) {
	for _, seed := range []string{"", "\x03\x00\x00\x00\x01\x00\x02\x00\x01\x00\x01\x03\x00\x01\x03", "\x03\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x03\x02\x01", "\x02\x03\x01\x00\x00\x00\x01\x05\x00\x01\x01\x03\x03\x03\x00\x02\x03\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(testEvolve)
}

// TestEvolve is FuzzEvolve with random input.
func TestEvolve(t *testing.T) {
	rng := testkit.Rand(t)
	for range 200 {
		data := make([]byte, 20+rng.IntN(100))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		testEvolve(t, data)
	}
}

func testEvolve(t *testing.T, data []byte) {
	c := &chooser{data}
	wide := c.newType(0)
	narrow := c.narrow(wide)
	if confusesGob(narrow, wide) {
		narrow = wide
	}
	sent := reflect.New(wide).Elem()
	c.fill(sent, 0)
	projected := reflect.New(narrow).Elem()
	project(projected, sent)
	wantNarrow, wantWide := gobTrip(t, projected), gobTrip(t, sent)
	for name, newEncoder := range newEncoders() {
		var buf bytes.Buffer
		enc := newEncoder(&buf)
		for range 4 {
			require.NoError(t, enc.Encode(sent.Interface()))
		}
		one := buf.Len()
		dec := labgob.NewDecoder(&buf)
		for i, want := range []any{wantNarrow, nil, wantWide, wantNarrow} {
			if want == nil {
				require.NoError(t, dec.Decode(nil), "skip from %s", name)
				continue
			}
			got := reflect.New(reflect.TypeOf(want))
			require.NoError(t, dec.Decode(got.Interface()), "value %d from %s: %v", i, name, sent)
			require.Equal(t, want, got.Elem().Interface(), "value %d from %s", i, name)
		}
		require.Equal(t, io.EOF, dec.Decode(nil), "after %d bytes", one)
		buf.Reset()
		require.NoError(t, newEncoder(&buf).Encode(sent.Interface()))
		got := reflect.New(narrow)
		require.NoError(t, labgob.Decode(buf.Bytes(), got.Interface()))
		require.Equal(t, wantNarrow, got.Elem().Interface())
	}
}

// gobTrip returns v as gob's encoder and decoder transport v.
func gobTrip(t *testing.T, v reflect.Value) any {
	t.Helper()
	var buf bytes.Buffer
	require.NoError(t, gob.NewEncoder(&buf).EncodeValue(v))
	got := reflect.New(v.Type())
	require.NoError(t, gob.NewDecoder(&buf).DecodeValue(got))
	return got.Elem().Interface()
}
