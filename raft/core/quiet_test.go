package core_test

import (
	"testing"

	"raftlab/raft/core"
)

// QuietTicks counts exactly the ticks without an effect, for each role.
func TestQuietTicks(t *testing.T) {
	quiet := func(s *server, role string, least int) {
		t.Helper()
		s.work()
		n := s.QuietTicks()
		if n < least {
			t.Errorf("%s: %d quiet ticks; want at least %d", role, n, least)
		}
		for i := range n {
			if s.Tick(); !s.Ready().Empty() {
				t.Fatalf("%s: tick %d of %d has an effect", role, i+1, n)
			}
		}
		if s.Tick(); s.Ready().Empty() {
			t.Errorf("%s: the tick after %d quiet ones has no effect", role, n)
		}
	}
	for range 3 {
		quiet(start(t, 3, core.Persistent{}, library), "follower", electionTicks-1)
	}
	s := start(t, 3, core.Persistent{}, library)
	s.elect()
	quiet(s, "leader", heartbeatTicks-1)
	s = lead(t, 3, library)
	s.propose("x")
	s.work()
	s.accept(2, s.Status().LastIndex)
	quiet(s, "leader with a commit to tell", 0)
	s = lead(t, 3, library)
	if err := s.TransferLeadership(2); err != nil {
		t.Fatal(err)
	}
	if n := s.QuietTicks(); n != 0 {
		t.Errorf("%d quiet ticks during a transfer", n)
	}
}
