package core

import (
	"cmp"
	"errors"
	"fmt"
)

// Config describes a server. Times are in ticks, whose length is the host's choice.
type Config struct {
	// ID is this server.
	ID NodeID
	// Voters, Learners and Members are the configuration of a server whose snapshot and log
	// have none. All servers of a new cluster start with the same configuration. A server
	// that joins a running cluster starts with none, and receives the configuration from
	// the leader. Later changes go through ProposeConfiguration.
	Voters   []NodeID
	Learners []NodeID
	Members  []Member
	// ElectionTicks is the minimum election timeout. Each timeout is drawn from
	// [ElectionTicks, 2*ElectionTicks) (§5.2). At least 2, and more than HeartbeatTicks.
	ElectionTicks int
	// HeartbeatTicks is the interval of an idle leader's heartbeats. At least 1.
	HeartbeatTicks int
	// MaxRequestBytes bounds the entries of one AppendEntries, if they are several. 0 means 1 MiB.
	MaxRequestBytes int
	// MaxInflight bounds a follower's unanswered AppendEntries with entries. 0 means 64.
	MaxInflight int
	// MaxInflightBytes bounds the entries in unanswered AppendEntries to one follower. At
	// the bound, the next request waits for an answer. 0 means 4 MiB.
	MaxInflightBytes int
	// AdaptiveWindow halves a follower's part of MaxInflightBytes at a loss. Answers widen it.
	AdaptiveWindow bool
	// MaxUncommittedBytes bounds the commands that a leader has accepted and not committed.
	// Propose then returns ErrTooMuchUncommitted. 0 means no bound.
	MaxUncommittedBytes int
	// MaxCachedBytes bounds the committed entries that stay in memory once they are saved.
	// The host reads older ones from storage, see Core.Loads and Core.LoadToApply. 0 keeps
	// the whole log in memory.
	MaxCachedBytes int
	// SnapshotChunkBytes is the size of the pieces in which a snapshot is sent (Figure 13).
	// 0 sends a snapshot whole.
	SnapshotChunkBytes int
	// LeaderNoOp makes a new leader begin its term with an empty entry, which commits the
	// entries of its predecessors without waiting for a command (§8). Reads and
	// configuration changes need the no-op.
	LeaderNoOp bool
	// NoPreVote begins elections without a pre-vote, as in §5.2.
	NoPreVote bool
	// LeaseTicks lets a leader answer reads without messages for LeaseTicks ticks after a
	// heartbeat that a quorum has answered (thesis 6.4.1). All servers of a cluster set the
	// same value. No read is stale as long as no server's clock runs more than
	// (ElectionTicks-1)/LeaseTicks times as fast as another's. At most ElectionTicks-1. 0
	// means no leases.
	LeaseTicks int
	// MaxPendingReads bounds the reads that wait for their index. 0 means 65,536.
	MaxPendingReads int
	// Quiesce lets an idle cluster fall silent. The servers then neither send heartbeats
	// nor count ticks until a message, a request or Wake. A host that sets Quiesce calls
	// Wake when the leader's host may be down.
	Quiesce bool
	// Applied is the index up to which the service has applied the log already and keeps
	// the result itself. NextToApply begins behind. 0 means the snapshot's index.
	Applied uint64
	// Rand draws election timeouts. The same draws and the same inputs make the same run.
	Rand Rand
}

// Rand is a source of random numbers. *rand.Rand of math/rand/v2 is one.
type Rand interface {
	// IntN returns a number from [0, n), n > 0.
	IntN(n int) int
}

func (cfg *Config) setDefaults() {
	cfg.MaxRequestBytes = cmp.Or(cfg.MaxRequestBytes, 1<<20)
	cfg.MaxInflight = cmp.Or(cfg.MaxInflight, 64)
	cfg.MaxInflightBytes = cmp.Or(cfg.MaxInflightBytes, 4<<20)
	cfg.MaxPendingReads = cmp.Or(cfg.MaxPendingReads, 1<<16)
}

// initial is the configuration of a server that has stored none.
func (cfg *Config) initial() Configuration {
	return Configuration{Voters: cfg.Voters, Learners: cfg.Learners, Members: cfg.Members}.sorted()
}

func (cfg *Config) validate() error {
	switch {
	case cfg.ID == None:
		return errors.New("core: Config.ID is 0, which means no server")
	case cfg.HeartbeatTicks < 1:
		return fmt.Errorf("core: Config.HeartbeatTicks is %d; want at least 1", cfg.HeartbeatTicks)
	case cfg.ElectionTicks < 2 || cfg.ElectionTicks <= cfg.HeartbeatTicks:
		return fmt.Errorf("core: Config.ElectionTicks is %d; want at least 2 and more than HeartbeatTicks (%d)",
			cfg.ElectionTicks, cfg.HeartbeatTicks)
	case cfg.MaxRequestBytes < 1 || cfg.MaxInflight < 1 || cfg.MaxInflightBytes < 1 || cfg.MaxPendingReads < 1:
		return fmt.Errorf("core: Config.MaxRequestBytes %d, MaxInflight %d, MaxInflightBytes %d and MaxPendingReads %d must be positive",
			cfg.MaxRequestBytes, cfg.MaxInflight, cfg.MaxInflightBytes, cfg.MaxPendingReads)
	case cfg.MaxUncommittedBytes < 0 || cfg.MaxCachedBytes < 0 || cfg.SnapshotChunkBytes < 0:
		return fmt.Errorf("core: Config.MaxUncommittedBytes %d, MaxCachedBytes %d and SnapshotChunkBytes %d must not be negative",
			cfg.MaxUncommittedBytes, cfg.MaxCachedBytes, cfg.SnapshotChunkBytes)
	case cfg.LeaseTicks < 0 || cfg.LeaseTicks >= cfg.ElectionTicks:
		return fmt.Errorf("core: Config.LeaseTicks is %d; want at least 0 and less than ElectionTicks (%d)",
			cfg.LeaseTicks, cfg.ElectionTicks)
	case cfg.Rand == nil:
		return errors.New("core: Config.Rand is nil")
	}
	initial := cfg.initial()
	if initial.IsZero() && len(initial.Members) == 0 {
		return nil // a server that joins
	}
	if err := initial.validate(); err != nil {
		return fmt.Errorf("core: Config.Voters %v and Learners %v: %w", cfg.Voters, cfg.Learners, err)
	}
	if !initial.Contains(cfg.ID) {
		return fmt.Errorf("core: Config.ID %d is not among Config.Voters %v and Learners %v", cfg.ID, cfg.Voters, cfg.Learners)
	}
	return nil
}
