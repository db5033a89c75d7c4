package script_test

import (
	"errors"
	"strings"
	"testing"

	"raftlab/raft/core/script"
)

// story is the beginning of the scripts below.
const story = "cluster 3 heartbeat=9\ntimeout 1\nsettle\n"

// An error has the file, the line and the value.
func TestErrorsHaveFileAndLine(t *testing.T) {
	for _, tt := range []struct {
		text string
		line string
		want error
		says string
	}{
		{"cluster 3\nfoo 1\n----\n", "a.txt:2: ", script.ErrCommand, `"foo 1"`},
		{"timeout 1\n----\n", "a.txt:1: ", script.ErrNoCluster, "timeout 1"},
		{"cluster 3 colour=red\n----\n", "a.txt:1: ", script.ErrCommand, "colour=red"},
		{"cluster 99\n----\n", "a.txt:1: ", script.ErrLimit, "99"},
		{"cluster 3 voters=4\n----\n", "a.txt:1: ", script.ErrArgument, "4 voters of 3 servers"},
		{"cluster 3 heartbeat=10\n----\n", "a.txt:1: ", script.ErrArgument, "heartbeat=10"},
		{"cluster 3 lease=10\n----\n", "a.txt:1: ", script.ErrArgument, "lease=10"},
		{"cluster 3 noop=1\n----\n", "a.txt:1: ", script.ErrCommand, "noop=1"},
		{"log 9 term=1 1\ncluster 3\n----\n", "a.txt:2: ", script.ErrArgument, "server 9"},
		{"log 1 term=1 2\n", "a.txt:1: ", script.ErrArgument, "term 2"},
		{"log 1\n", "a.txt:1: ", script.ErrCommand, "log"},
		{"cluster 3\n\n# a remark\ncrash 4\n----\n", "a.txt:4: ", script.ErrArgument, "no server 4"},
		{"cluster 3\ntick 1 x\n----\n", "a.txt:2: ", script.ErrArgument, `"x"`},
		{"cluster 3\ntick 1 99999\n----\n", "a.txt:2: ", script.ErrLimit, "99999"},
		{"cluster 3\npropose 1\n----\n", "a.txt:2: ", script.ErrCommand, "propose"},
		{"cluster 3\ncrash 1\ntimeout 1\n----\n", "a.txt:3: ", script.ErrDown, "1"},
		{"cluster 3\ndeliver 1->2\n----\n", "a.txt:2: ", script.ErrNoMessage, "1->2"},
		{"cluster 3\ndeliver 1-2\n----\n", "a.txt:2: ", script.ErrArgument, "1-2"},
		{"cluster 3\ntimeout 1\ndeliver 1->2#2\n----\n", "a.txt:3: ", script.ErrNoMessage, "1->2#2"},
		{"cluster 3\ntimeout 1\ndeliver #0\n----\n", "a.txt:3: ", script.ErrArgument, "from 1"},
		{"cluster 3\ncut 1->\n----\n", "a.txt:2: ", script.ErrArgument, "1->"},
		{"cluster 3\nmembers 1 voters=1,x\n----\n", "a.txt:2: ", script.ErrArgument, `"x"`},
		{"cluster 3\ntimeout 1\n", "a.txt:2: ", script.ErrOpenBlock, "----"},
		{story + "expect 1 state = follower\n----\n", "a.txt:4: ", script.ErrUnexpected, "leader"},
		{story + "expect all term > 1\n----\n", "a.txt:4: ", script.ErrUnexpected, "term of server 1 is 1"},
		{story + "expect any state = candidate\n----\n", "a.txt:4: ", script.ErrUnexpected, "follower"},
		{story + "expect leaders = 2\n----\n", "a.txt:4: ", script.ErrUnexpected, "leaders is 1"},
		{story + "expect 1 colour = red\n----\n", "a.txt:4: ", script.ErrCommand, "colour"},
		{story + "expect 1 term ~ 1\n----\n", "a.txt:4: ", script.ErrCommand, "~"},
		{story + "expect 1 state > 1\n----\n", "a.txt:4: ", script.ErrArgument, "leader"},
		{strings.Repeat("#\n", script.MaxLines+1), "a.txt:1: ", script.ErrLimit, "10000"},
	} {
		_, err := script.Run("a.txt", tt.text)
		if err == nil || !strings.HasPrefix(err.Error(), tt.line) || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%.40q: got %v; want %s, %v and %s", tt.text, err, tt.line, tt.want, tt.says)
		}
	}
}

func TestExpect(t *testing.T) {
	holds := story + `propose 1 a b
settle
tick all 9
settle
crash 3
expect 1 state = leader
expect any state = down
expect all commit >= 2
expect 1 log = 1 1
expect 2 voted = 1
expect leaders = 1
expect violations = 0
expect 1 voters = 1,2,3
expect 1 joint = false
----
`
	if _, err := script.Run("a.txt", holds); err != nil {
		t.Fatal(err)
	}
}

// Two logs that no run of Raft makes break Log Matching. The script reports the violation
// once, and goes on.
func TestViolationsAreEffects(t *testing.T) {
	got, err := script.Run("a.txt", "log 1 term=2 1 2\nlog 2 term=2 2 2\ncluster 3 heartbeat=9\n----\n\ntimeout 1\nsettle\nexpect 1 state = leader\n----\n")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(got, "\n"+script.Violation+"Log Matching"); n != 1 {
		t.Fatalf("%d reports of the violation; want 1:\n%s", n, got)
	}
}

// Commands of a visitor, however wrong, end in an error and never in a crash.
func FuzzDo(f *testing.F) {
	f.Add("cluster 3\ntimeout 1\nsettle\npropose 1 x\nrepeat\nreorder ->2\ndelay 1->\nrelease\npartition 1 | 2 3\nmembers 1 learners=2\n")
	f.Add("log 1 term=3 1 2 3\ncluster 5 noprevote quiesce chunk=1 cache=1\ntick all 100\nsnapshot 1\nread all\ntransfer 1 2\nstall 1\nexpect all term < 3")
	f.Fuzz(func(_ *testing.T, text string) {
		var w script.World
		for _, line := range strings.Split(text, "\n") {
			if strings.Contains(line, "00") || strings.Contains(line, "99") {
				continue // long waits find nothing
			}
			_, _ = w.Do(line)
		}
	})
}
