package labtest

import (
	"testing"
	"time"
)

// A cluster is restless while a term lasts no longer than an attempt, and calm with a term
// that stays. Only a restless cluster gets more time for agreement.
func TestRestlessness(t *testing.T) {
	var r restlessness
	now := time.Unix(1000, 0)
	want := func(restless bool, at time.Time) {
		t.Helper()
		if got := r.restless(at); got != restless {
			t.Fatalf("term %d is restless: %v; want %v", r.term, got, restless)
		}
	}
	for term := range 20 {
		r.see(term+1, now)
		now = now.Add(retryAfter)
		want(true, now)
	}
	r.see(20, now)
	want(false, now.Add(time.Millisecond))
	r.see(21, now)
	want(true, now)
}

// The message of a wrong command shows a number as the test wrote it.
func TestWrongCommandInWords(t *testing.T) {
	var l ledger
	if err := l.agree(1, 101); err != nil {
		t.Fatal(err)
	}
	const want = "applied 102 at index 1, where 101 was applied before"
	if err := l.agree(1, 102); err == nil || err.Error() != want {
		t.Fatalf("the error is %v; want %s", err, want)
	}
}
