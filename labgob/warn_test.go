package labgob_test

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"raftlab/labgob"
)

// warnings returns how many warnings f causes, and what it prints.
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
	if err != nil {
		t.Fatal(err)
	}
	decode := func(into target) func() {
		return func() {
			if err := labgob.NewDecoder(bytes.NewReader(data)).Decode(&into); err != nil {
				t.Error(err)
			}
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
