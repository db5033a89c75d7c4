package labgob_test

import (
	"bytes"
	"encoding/gob"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/labgob"
)

// warnings returns the number of warnings during f, and the printed text.
func warnings(t *testing.T, f func()) (int, string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Skip("this system has no pipes: ", err)
	}
	old := os.Stderr
	os.Stderr = w
	printed := make(chan string)
	go func() {
		text, _ := io.ReadAll(r)
		printed <- string(text)
	}()
	before := labgob.ErrorCount()
	func() {
		defer func() { os.Stderr = old; w.Close() }() // also if f ends the test
		f()
	}()
	return labgob.ErrorCount() - before, <-printed
}

type lowerField struct {
	Upper int
	lower string
}

type hidden struct {
	Fine map[string][]*lowerArm
}

type lowerArm struct{ left int }

type lowerNever struct {
	When time.Time // has lower-case fields, and encodes itself
	Next *lowerNever
}

func TestWarnsAboutLowerCaseFieldsOnceAType(t *testing.T) {
	labgob.ForgetWarnings() // of an earlier run with -count
	enc := labgob.NewEncoder(new(bytes.Buffer))
	n, text := warnings(t, func() {
		enc.Encode(lowerField{1, "x"})
		enc.Encode(&lowerField{2, "y"})
		labgob.NewDecoder(new(bytes.Buffer)).Decode(new(lowerField))
	})
	require.Equal(t, 1, n, text)
	require.Equal(t, 1, strings.Count(text, "\n"), text)
	require.Contains(t, text, "lower-case field lower of labgob_test.lowerField")
	n, text = warnings(t, func() { labgob.Register(hidden{map[string][]*lowerArm{"": {{left: 1}}}}) })
	require.Equal(t, 1, n, "deep inside: %s", text)
	require.Contains(t, text, "field left of labgob_test.lowerArm")
	n, text = warnings(t, func() { labgob.Register(lowerNever{}) })
	require.Zero(t, n, "type without fault: %s", text)
}

type target struct {
	X    int
	Deep *struct{ Y string }
	All  []int
	By   map[string]int
}

func TestWarnsAboutNonDefaultTargetsEveryTime(t *testing.T) {
	labgob.ForgetWarnings() // of an earlier run with -count
	data, err := labgob.Encode(target{})
	require.NoError(t, err)
	decode := func(into target) func() {
		return func() {
			require.NoError(t, labgob.NewDecoder(bytes.NewReader(data)).Decode(&into))
		}
	}
	for _, clean := range []target{{}, {All: []int{}, By: map[string]int{}, Deep: &struct{ Y string }{}}} {
		n, text := warnings(t, decode(clean))
		require.Zero(t, n, "%+v: %s", clean, text)
	}
	n, text := warnings(t, decode(target{X: 99}))
	require.Equal(t, 1, n, text)
	require.Contains(t, text, "non-default variable/field labgob_test.target.X ")
	for _, used := range []target{{X: 99}, {Deep: &struct{ Y string }{"y"}}, {All: []int{0}}, {By: map[string]int{"": 0}}} {
		n, text := warnings(t, decode(used))
		require.Equal(t, 1, n, "%+v", used)
		require.Empty(t, text, "%+v: printed twice", used)
	}
}

type reused struct {
	Value any
	List  []reusedPart
	Lists [][]reusedPart
	Ptrs  []*reusedPart
	Maps  []map[string]int
	Bytes []byte
	Nums  []int
	Anys  []any
	Whens []time.Time
	Pair  [2]reusedPart
}

type reusedPart struct {
	Key string
	Seq int
}

// TestWarnsAboutReusedTargets decodes into used variables. Only parts that gob
// may keep count. Gob sends every element of a list, but not the zero fields of
// an element.
func TestWarnsAboutReusedTargets(t *testing.T) {
	old := reusedPart{Key: "old"}
	stale := map[string]any{
		"interface":              &reused{Value: 5},
		"element":                &reused{List: []reusedPart{old}[:0]},
		"second element":         &reused{List: []reusedPart{{}, old}[:0]},
		"list in a list":         &reused{Lists: [][]reusedPart{{old}}[:0]},
		"hidden list in a list":  &reused{Lists: [][]reusedPart{[]reusedPart{old}[:0]}[:0]},
		"pointer":                &reused{Ptrs: []*reusedPart{&old}[:0]},
		"map":                    &reused{Maps: []map[string]int{{"a": 1}}[:0]},
		"array":                  &reused{Pair: [2]reusedPart{{}, old}},
		"element of the target":  ptr([]reusedPart{old}[:0]),
		"interface in a list":    ptr([]reused{{Value: 1}}[:0]),
		"interface in a pointer": &struct{ P *reused }{&reused{Value: 5}},
	}
	for name, into := range stale {
		n, _ := warnings(t, func() { labgob.Decode(encoded(t, 1), into) })
		require.Equal(t, 1, n, name)
	}
	fresh := map[string]any{
		"zero elements":       &reused{List: make([]reusedPart, 0, 4), Ptrs: make([]*reusedPart, 0, 4)},
		"pointer to zero":     &reused{Ptrs: []*reusedPart{{}}[:0]},
		"bytes":               &reused{Bytes: []byte("old")[:0]},
		"numbers":             &reused{Nums: []int{1}[:0]},
		"interfaces in lists": &reused{Anys: []any{1}[:0]},
		"times":               &reused{Whens: []time.Time{time.Now()}[:0]},
		"whole interface":     ptr(any(5)),
	}
	for name, into := range fresh {
		n, text := warnings(t, func() { labgob.Decode(encoded(t, 1), into) })
		require.Zero(t, n, "%s: %s", name, text)
	}
}

// TestReusedElementsAreStale decodes with gob. The result confirms the warnings
// about elements, and the absence of warnings about other parts.
func TestReusedElementsAreStale(t *testing.T) {
	data := encoded(t, reused{List: []reusedPart{{Seq: 1}}, Ptrs: []*reusedPart{{Seq: 1}}, Nums: []int{0}, Anys: []any{nil}, Bytes: []byte{0}})
	got := reused{
		Value: 5, List: []reusedPart{{Key: "old"}}[:0], Ptrs: []*reusedPart{{Key: "old"}}[:0],
		Nums: []int{7}[:0], Anys: []any{7}[:0], Bytes: []byte{7}[:0],
	}
	require.NoError(t, gob.NewDecoder(bytes.NewReader(data)).Decode(&got))
	require.Equal(t, reused{
		Value: 5, List: []reusedPart{{"old", 1}}, Ptrs: []*reusedPart{{"old", 1}},
		Nums: []int{0}, Anys: []any{nil}, Bytes: []byte{0},
	}, got)
}

func ptr[T any](v T) *T { return &v }
