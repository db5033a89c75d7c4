package commit_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/labrpc"
	"raftlab/protocols/commit"
	"raftlab/protocols/harness"
)

// Node 0 has the coordinator, and the nodes from 1 on are participants.
func start(c *harness.Cluster) []*commit.Participant {
	c.Serve(0)
	all := make([]*commit.Participant, c.Size()-1)
	for i := range all {
		all[i] = commit.NewParticipant(c.Ends(i + 1)[1:], i)
		c.Serve(i+1, all[i])
	}
	return all
}

func states(all []*commit.Participant) (s []commit.State) {
	for _, p := range all {
		s = append(s, p.State())
	}
	return s
}

// atomic reports whether nobody has committed while another one has aborted.
func atomic(all []*commit.Participant) bool {
	seen := make(map[commit.State]bool)
	for _, s := range states(all) {
		seen[s] = true
	}
	return !seen[commit.Committed] || !seen[commit.Aborted]
}

// crashAt returns a hook that crashes the coordinator before a phase.
func crashAt(c *harness.Cluster, phase commit.State) func(commit.State) bool {
	return func(next commit.State) bool {
		if next == phase {
			c.Crash(0)
		}
		return next != phase
	}
}

func TestDecisions(t *testing.T) {
	for _, threePhase := range []bool{false, true} {
		for _, refuse := range []bool{false, true} {
			harness.Run(t, 4, func(t *testing.T, c *harness.Cluster) {
				all := start(c)
				all[1].Refuse = refuse
				want := map[bool]commit.State{false: commit.Committed, true: commit.Aborted}[refuse]
				coordinator := commit.Coordinator{Participants: c.Ends(0)[1:], ThreePhase: threePhase}
				require.Equal(t, want, coordinator.Run())
				require.Equal(t, []commit.State{want, want, want}, states(all))
			})
		}
	}
}

// On a lossy network two-phase commit stays atomic, whatever gets lost. A participant without
// the decision asks the others.
func TestAtomicUnderLoss(t *testing.T) {
	harness.Run(t, 4, func(t *testing.T, c *harness.Cluster) {
		committed, aborted := 0, 0
		for range 100 {
			all := start(c)
			c.SetFaults(harness.Lossy)
			coordinator := commit.Coordinator{Participants: c.Ends(0)[1:]}
			switch coordinator.Run() {
			case commit.Committed:
				committed++
			case commit.Aborted:
				aborted++
			}
			c.SetFaults(harness.Late)
			for _, p := range all {
				p.Terminate(false)
			}
			require.True(t, atomic(all), "%v", states(all))
		}
		require.Positive(t, committed)
		require.Positive(t, aborted)
	})
}

// Two-phase commit blocks when the coordinator crashes after the votes. Three-phase commit goes
// on, and commits if the announcement of the commit had gone out.
func TestBlocking(t *testing.T) {
	for _, tt := range []struct {
		threePhase bool
		crash      commit.State
		ends       bool
		want       commit.State
	}{
		{false, commit.Committed, false, commit.Prepared}, // with locks held, for good
		{true, commit.PreCommitted, true, commit.Aborted},
		{true, commit.Committed, true, commit.Committed},
	} {
		harness.Run(t, 4, func(t *testing.T, c *harness.Cluster) {
			all := start(c)
			coordinator := commit.Coordinator{Participants: c.Ends(0)[1:], ThreePhase: tt.threePhase, Before: crashAt(c, tt.crash)}
			require.Equal(t, commit.Working, coordinator.Run())
			for _, p := range all {
				require.Equal(t, tt.ends, p.Terminate(tt.threePhase))
			}
			require.Equal(t, []commit.State{tt.want, tt.want, tt.want}, states(all))
		})
	}
}

// A participant knows its own state without the network. Alone with the announcement of the commit,
// the participant commits, and does not take the loss of its own messages for a crash.
func TestSurvivorAloneCommits(t *testing.T) {
	harness.Run(t, 4, func(t *testing.T, c *harness.Cluster) {
		all := start(c)
		coordinator := commit.Coordinator{Participants: c.Ends(0)[1:], ThreePhase: true, Before: crashAt(c, commit.Committed)}
		require.Equal(t, commit.Working, coordinator.Run())
		c.SetFaults(labrpc.Faults{RequestLoss: 1})
		require.True(t, all[0].Terminate(true))
		require.Equal(t, []commit.State{commit.Committed, commit.PreCommitted, commit.PreCommitted}, states(all))
	})
}

// A participant that has not voted frees the others, in two phases too.
func TestUnvotedParticipantAborts(t *testing.T) {
	harness.Run(t, 4, func(t *testing.T, c *harness.Cluster) {
		all := start(c)
		var yes bool
		require.True(t, c.Ends(0)[1].Call("Participant.Prepare", 0, &yes))
		require.True(t, yes)
		c.Crash(0)
		require.True(t, all[0].Terminate(false))
		require.Equal(t, []commit.State{commit.Aborted, commit.Aborted, commit.Aborted}, states(all))
	})
}

// A partition breaks three-phase commit. One side has the announcement and commits. The other side
// takes the silence for a crash and aborts.
func TestPartitionBreaksThreePhases(t *testing.T) {
	harness.Run(t, 4, func(t *testing.T, c *harness.Cluster) {
		all := start(c)
		coordinator := commit.Coordinator{Participants: c.Ends(0)[1:], ThreePhase: true}
		coordinator.Before = func(phase commit.State) bool {
			if phase == commit.PreCommitted {
				c.Partition([]int{0, 1}, []int{2, 3})
			}
			return phase != commit.Committed
		}
		coordinator.Run()
		for _, p := range all {
			p.Terminate(true)
		}
		require.Equal(t, []commit.State{commit.Committed, commit.Aborted, commit.Aborted}, states(all))
		require.False(t, atomic(all))
	})
}
