package labgob_test

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/labgob"
)

// A Wide comes from a newer version of a program. Narrow is the older version,
// without the fields with interfaces.
type Wide struct {
	List  []any
	Map   map[string]any
	Pair  [2]any
	Inner WideInner
	Last  int
}

type WideInner struct {
	First []any
	Kept  any
}

type Narrow struct {
	Inner struct{ Kept any }
	Last  int
}

// An Evolved travels inside an interface. At its sender, the type had one more
// field.
type Evolved struct{ Kept int }

type evolvedSender struct {
	Gone []any
	Kept int
}

func init() {
	labgob.Register(WideInner{})
	labgob.RegisterName("raftlab.Evolved.old", Evolved{})
	labgob.RegisterName("raftlab.Evolved.new", evolvedSender{})
}

// newEncoders returns both encoders by name.
func newEncoders() map[string]func(io.Writer) encoder {
	return map[string]func(io.Writer) encoder{
		"gob":    func(w io.Writer) encoder { return gob.NewEncoder(w) },
		"labgob": func(w io.Writer) encoder { return labgob.NewEncoder(w) },
	}
}

// withNils returns values with interfaces in lists and maps, nil ones among
// them. A skipped nil interface ends a gob decoder in the middle of a stream.
func withNils() []any {
	box := Box{Box{Op{Key: "deep"}}}
	return []any{
		[]any{nil}, []any{"x"}, []any{nil, 1, nil}, [2]any{}, [2]any{nil, 2}, map[string]any{"a": nil, "b": 2},
		map[any]int{nil: 1, "k": 2}, [][]any{{nil}, nil, {nil, nil}}, []any{[]any{nil}, box},
		Wide{List: []any{nil, box, 1}, Map: map[string]any{"k": nil}, Pair: [2]any{nil, "p"}, Last: 3},
		Box{Wide{List: []any{nil}}}, AppendArgs{Entries: []Entry{{1, nil}, {2, box}}}, 7,
	}
}

func init() {
	labgob.Register([]any{})
	labgob.Register(Wide{})
}

// TestSkipValues skips every second value of a stream, and then all values.
func TestSkipValues(t *testing.T) {
	for name, newEncoder := range newEncoders() {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			enc := newEncoder(&buf)
			for i, v := range withNils() {
				require.NoError(t, enc.Encode(v))
				require.NoError(t, enc.Encode(i+1))
			}
			all := bytes.Clone(buf.Bytes())
			dec := labgob.NewDecoder(&buf)
			for i, v := range withNils() {
				require.NoError(t, dec.Decode(nil), "skip %#v", v)
				var n int
				require.NoError(t, dec.Decode(&n), "behind %#v", v)
				require.Equal(t, i+1, n, "behind %#v", v)
			}
			require.Equal(t, io.EOF, dec.Decode(nil))

			dec = labgob.NewDecoder(bytes.NewReader(all))
			for range 2 * len(withNils()) {
				require.NoError(t, dec.Decode(nil))
			}
			require.Equal(t, io.EOF, dec.Decode(nil))
		})
	}
}

// TestSkipFields decodes into a type that lacks the fields with nil
// interfaces. The other fields arrive.
func TestSkipFields(t *testing.T) {
	box := Box{Box{Op{Key: "deep"}}}
	for name, newEncoder := range newEncoders() {
		for i, w := range []Wide{
			{List: []any{nil}, Last: 3},
			{List: []any{nil, 1, nil}, Last: 3},
			{Map: map[string]any{"a": nil, "b": box}, Last: 3},
			{Pair: [2]any{}, Last: 3},
			{Pair: [2]any{1, nil}, Inner: WideInner{First: []any{nil, nil}, Kept: 9}, Last: 3},
			{List: []any{box, nil}, Inner: WideInner{First: []any{box}, Kept: []any{nil, box}}, Last: 3},
			{List: []any{[]any{nil, WideInner{First: []any{nil}}}}, Inner: WideInner{Kept: WideInner{First: []any{nil}}}, Last: 3},
		} {
			t.Run(fmt.Sprintf("%s/%d", name, i), func(t *testing.T) {
				var buf bytes.Buffer
				enc := newEncoder(&buf)
				require.NoError(t, enc.Encode(w))
				require.NoError(t, enc.Encode(5))
				dec := labgob.NewDecoder(&buf)
				var got Narrow
				require.NoError(t, dec.Decode(&got))
				require.Equal(t, w.Inner.Kept, got.Inner.Kept)
				require.Equal(t, w.Last, got.Last)
				var n int
				require.NoError(t, dec.Decode(&n))
				require.Equal(t, 5, n)
			})
		}
	}
}

// TestSkipFieldsInsideInterfaces receives a value in an interface whose type
// had one more field at the sender.
func TestSkipFieldsInsideInterfaces(t *testing.T) {
	for name, newEncoder := range newEncoders() {
		var buf bytes.Buffer
		sent := []any{1, evolvedSender{[]any{nil, Box{Box{Op{}}}, nil}, 4}, Box{evolvedSender{[]any{nil}, 5}}, nil, 2}
		require.NoError(t, newEncoder(&buf).Encode(sent))
		data := bytes.ReplaceAll(buf.Bytes(), []byte(".Evolved.new"), []byte(".Evolved.old"))
		var got []any
		require.NoError(t, labgob.NewDecoder(bytes.NewReader(data)).Decode(&got), "from %s", name)
		require.Equal(t, []any{1, Evolved{4}, Box{Evolved{5}}, nil, 2}, got, "from %s", name)
	}
}

// TestOneTypeForTwo decodes into a struct with one type for two fields. At the
// sender, the two fields have different types. Gob decodes the second field as
// if the sender had used the type of the first, and either fails or mixes up the
// fields. Labgob passes the value to gob, and so has the same result. A release
// of Go without the fault passes as well.
func TestOneTypeForTwo(t *testing.T) {
	type xy struct{ X, Y string }
	type yx struct{ Y, X string }
	type nxy struct {
		N    int
		X, Y string
	}
	type fields struct{ First, Second xy }
	type inMaps struct{ First, Second map[string]xy }
	for _, c := range []struct{ sent, target any }{
		{struct{ First, Second xy }{xy{"a", "b"}, xy{"c", "d"}}, fields{}},
		{struct {
			First  xy
			Second yx
		}{xy{"a", "b"}, yx{"c", "d"}}, fields{}},
		{struct {
			First  nxy
			Second xy
		}{nxy{1, "a", "b"}, xy{"c", "d"}}, fields{}},
		{struct {
			First  map[string]nxy
			Second map[string]xy
		}{map[string]nxy{"k": {1, "a", "b"}}, map[string]xy{"k": {"c", "d"}}}, inMaps{}},
	} {
		data := encoded(t, c.sent)
		theirs, ours := reflect.New(reflect.TypeOf(c.target)), reflect.New(reflect.TypeOf(c.target))
		errTheirs := gob.NewDecoder(bytes.NewReader(data)).DecodeValue(theirs)
		errOurs := labgob.Decode(data, ours.Interface())
		require.Equal(t, errTheirs == nil, errOurs == nil, "%#v: %v by gob, %v by labgob", c.sent, errTheirs, errOurs)
		require.Equal(t, theirs.Elem().Interface(), ours.Elem().Interface(), "%#v", c.sent)
		if !confusesGob(reflect.TypeOf(c.target), reflect.TypeOf(c.sent)) {
			right := reflect.New(reflect.TypeOf(c.target)).Elem()
			project(right, reflect.ValueOf(c.sent))
			require.NoError(t, errOurs)
			require.Equal(t, right.Interface(), ours.Elem().Interface())
		}
	}
}

// TestDecodeOneGobValue decodes streams with one value of gob. Type definitions
// stand in the middle of the value, and the value takes several messages.
func TestDecodeOneGobValue(t *testing.T) {
	for _, v := range append(withNils(), values()...) {
		var buf bytes.Buffer
		require.NoError(t, gob.NewEncoder(&buf).Encode(v))
		for range 2 { // cold and warm
			got := reflect.New(reflect.TypeOf(v))
			require.NoError(t, labgob.Decode(buf.Bytes(), got.Interface()), "%#v", v)
			require.Equal(t, v, got.Elem().Interface())
		}
		for n := range buf.Len() {
			got := reflect.New(reflect.TypeOf(v))
			require.ErrorIs(t, labgob.Decode(buf.Bytes()[:n], got.Interface()), labgob.ErrMalformed, "%d bytes of %#v", n, v)
		}
		more := append(bytes.Clone(buf.Bytes()), 3, 4, 0, 2)
		got := reflect.New(reflect.TypeOf(v))
		require.ErrorIs(t, labgob.Decode(more, got.Interface()), labgob.ErrTrailingBytes, "%#v", v)
		require.Zero(t, got.Elem().Interface(), "the target changed with the error")
	}
}

// An EndsEarly fails to decode with the error of a reader at its end.
type EndsEarly struct{}

var endsWith error // the error of EndsEarly.GobDecode

func (EndsEarly) GobEncode() ([]byte, error) { return nil, nil }
func (*EndsEarly) GobDecode([]byte) error    { return endsWith }

// TestErrorOfGobDecode expects an error inside a value to differ from the end
// of the stream, and other errors to match.
func TestErrorOfGobDecode(t *testing.T) {
	other := errors.New("an error of the type")
	for _, err := range []error{io.EOF, io.ErrUnexpectedEOF, other, errors.Join(other, io.EOF)} {
		endsWith = err
		var buf bytes.Buffer
		enc := labgob.NewEncoder(&buf)
		for range 3 {
			require.NoError(t, enc.Encode(EndsEarly{}))
		}
		dec := labgob.NewDecoder(&buf)
		for range 3 {
			got := dec.Decode(new(EndsEarly))
			require.Error(t, got)
			require.NotErrorIs(t, got, io.EOF)
			require.NotErrorIs(t, got, io.ErrUnexpectedEOF)
			require.Equal(t, errors.Is(err, other), errors.Is(got, other))
		}
		require.Equal(t, io.EOF, dec.Decode(new(EndsEarly)))
	}
}

// A slowReader has a Len that counts only buffered bytes.
type slowReader struct {
	buffered, rest []byte
}

func (r *slowReader) Len() int { return len(r.buffered) }

func (r *slowReader) Read(p []byte) (int, error) {
	if len(r.buffered) == 0 {
		if len(r.rest) == 0 {
			return 0, io.EOF
		}
		n := min(2, len(r.rest))
		r.buffered, r.rest = r.rest[:n], r.rest[n:]
	}
	n := copy(p, r.buffered)
	r.buffered = r.buffered[n:]
	return n, nil
}

func (r *slowReader) ReadByte() (byte, error) {
	var b [1]byte
	_, err := r.Read(b[:])
	return b[0], err
}

func TestReaderWithShortLen(t *testing.T) {
	for _, v := range values() {
		got := reflect.New(reflect.TypeOf(v))
		require.NoError(t, labgob.NewDecoder(&slowReader{rest: encoded(t, v)}).Decode(got.Interface()), "%#v", v)
		require.Equal(t, v, got.Elem().Interface())
	}
}

// TestNilPointers reads every written nil pointer with both decoders.
func TestNilPointers(t *testing.T) {
	var op *Op
	twice := &op
	for _, v := range []any{&op, &twice} {
		for name, newEncoder := range newEncoders() {
			var buf bytes.Buffer
			enc := newEncoder(&buf)
			require.NoError(t, enc.Encode(v))
			require.NoError(t, enc.Encode(5))
			for to, dec := range map[string]decoder{
				"labgob": labgob.NewDecoder(bytes.NewReader(buf.Bytes())), "gob": gob.NewDecoder(bytes.NewReader(buf.Bytes())),
			} {
				var got *Op
				var n int
				require.NoError(t, dec.Decode(&got), "%s to %s", name, to)
				require.NoError(t, dec.Decode(&n), "%s to %s", name, to)
				require.Equal(t, &Op{}, got)
				require.Equal(t, 5, n)
			}
		}
	}
	var number *int
	var list *[]int
	var when *time.Time
	for _, v := range []any{nil, &number, &list, &when, []any{op}, []any{&op, 7}, []any{&when}, Box{&number}} {
		_, err := labgob.Encode(v)
		require.ErrorIs(t, err, labgob.ErrNil, "%#v", v)
	}
	_, err := labgob.Marshal(&op)
	require.ErrorIs(t, err, labgob.ErrNil)
}
