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
	f()
	count := labgob.ErrorCount() - before
	os.Stderr = old
	w.Close()
	return count, <-printed
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
	enc := labgob.NewEncoder(new(bytes.Buffer))
	n, text := warnings(t, func() {
		enc.Encode(lowerField{1, "x"})
		enc.Encode(&lowerField{2, "y"})
		labgob.NewDecoder(new(bytes.Buffer)).Decode(new(lowerField))
	})
	if n != 1 || strings.Count(text, "\n") != 1 || !strings.Contains(text, "lower-case field lower of labgob_test.lowerField") {
		t.Errorf("%d warnings: %s", n, text)
	}
	n, text = warnings(t, func() { labgob.Register(hidden{map[string][]*lowerArm{"": {{left: 1}}}}) })
	if n != 1 || !strings.Contains(text, "field left of labgob_test.lowerArm") {
		t.Errorf("deep inside: %d warnings: %s", n, text)
	}
	n, text = warnings(t, func() { labgob.Register(lowerNever{}) })
	if n != 0 {
		t.Errorf("type without fault: %d warnings: %s", n, text)
	}
}

type target struct {
	X    int
	Deep *struct{ Y string }
	All  []int
	By   map[string]int
}

func TestWarnsAboutNonDefaultTargetsEveryTime(t *testing.T) {
	data, err := labgob.Encode(target{})
	require.NoError(t, err)
	decode := func(into target) func() {
		return func() {
			require.NoError(t, labgob.NewDecoder(bytes.NewReader(data)).Decode(&into))
		}
	}
	for _, clean := range []target{{}, {All: []int{}, By: map[string]int{}, Deep: &struct{ Y string }{}}} {
		if n, text := warnings(t, decode(clean)); n != 0 {
			t.Errorf("%+v: %d warnings: %s", clean, n, text)
		}
	}
	n, text := warnings(t, decode(target{X: 99}))
	if n != 1 || !strings.Contains(text, "non-default variable/field labgob_test.target.X ") {
		t.Errorf("first time: %d warnings: %q", n, text)
	}
	for _, used := range []target{{X: 99}, {Deep: &struct{ Y string }{"y"}}, {All: []int{0}}, {By: map[string]int{"": 0}}} {
		if n, text := warnings(t, decode(used)); n != 1 || text != "" {
			t.Errorf("%+v: %d warnings, printed %q; want a count and no second print", used, n, text)
		}
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
		if n, _ := warnings(t, func() { labgob.Decode(encoded(t, 1), into) }); n != 1 {
			t.Errorf("%s: %d warnings, want 1", name, n)
		}
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
		if n, text := warnings(t, func() { labgob.Decode(encoded(t, 1), into) }); n != 0 {
			t.Errorf("%s: %d warnings: %s", name, n, text)
		}
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
