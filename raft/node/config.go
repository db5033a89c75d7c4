package node

import (
	"cmp"
	"fmt"
	"log/slog"
	"runtime"
	"time"
)

// HostConfig has the settings of a host. Storage and Transport are required. The
// zero value of each other field means its default.
//
// If Storage, Transport or Trace calls runtime.Goexit, the host stops with an
// [*ExitError]. A panic there, or in Observe or Logger, is not recovered and ends the process.
// If a function above Propose recovers the panic, the host has stopped as well.
type HostConfig struct {
	// Storage holds the state of all groups, and the host's identity. The host
	// closes the storage.
	Storage Storage
	// Transport reaches the other hosts. The host closes the transport.
	Transport Transport
	// TickInterval is the unit of Raft's time. The default is 10 ms. Timeouts are
	// rounded up to multiples of TickInterval. A short interval makes timeouts
	// precise and costs processor time for each group that is not quiescent.
	TickInterval time.Duration
	// Workers is the number of goroutines for Raft, and the number of goroutines
	// for state machines. The default is GOMAXPROCS. A state machine that blocks
	// in Apply occupies one of the latter.
	Workers int
	// MaxSnapshots bounds the snapshots of all groups that are written at the same
	// time, and the chunks of snapshots that are read for other hosts or written for
	// them at the same time. The default is 2. A larger number takes more memory and
	// disk bandwidth from proposals.
	MaxSnapshots int
	// StorageTimeout bounds the time of a small save while a majority has saved the
	// same entries. After that time a member counts as stalled, and a leader steps
	// down. A save gets another second for each 8 MiB, and four times as long while
	// no majority has saved its entries, since all hosts may share a slow disk. The
	// default is ElectionTimeout of each group, without these additions.
	StorageTimeout time.Duration
	// CloseTimeout bounds the time for which Close waits for a hung storage, and for a
	// state machine or Observe that does not return. The default is 10 s.
	CloseTimeout time.Duration
	// Logger receives changes of role and membership at level Info, conditions
	// for an operator to look at as Warn, and failures as Error. The default is
	// silent.
	Logger *slog.Logger
	// Observe is called with each event, in order, from one goroutine at a time. If
	// Observe calls runtime.Goexit, another goroutine goes on with the next event. The
	// default is none.
	Observe func(Event)
	// MaxEvents bounds the events that wait for Observe, each of some hundred bytes. The
	// default is 4,096. Beyond MaxEvents, new events are dropped and counted in
	// [HostStats]. [Node.Status] and [Host.Stats] still tell what the lost events told.
	MaxEvents int
	// Trace is called for each message. The default is none.
	Trace *Trace
}

func (c *HostConfig) setDefaults() error {
	c.TickInterval = cmp.Or(c.TickInterval, 10*time.Millisecond)
	c.Workers = cmp.Or(c.Workers, runtime.GOMAXPROCS(0))
	c.MaxSnapshots = cmp.Or(c.MaxSnapshots, 2)
	c.MaxEvents = cmp.Or(c.MaxEvents, 4096)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Storage == nil:
		return fmt.Errorf("%w: HostConfig.Storage is nil", ErrConfig)
	case c.Transport == nil:
		return fmt.Errorf("%w: HostConfig.Transport is nil", ErrConfig)
	case c.TickInterval < time.Millisecond:
		return fmt.Errorf("%w: HostConfig.TickInterval is %v; want at least 1ms", ErrConfig, c.TickInterval)
	case c.Workers < 1:
		return fmt.Errorf("%w: HostConfig.Workers is %d; want at least 1", ErrConfig, c.Workers)
	case c.MaxSnapshots < 1:
		return fmt.Errorf("%w: HostConfig.MaxSnapshots is %d; want at least 1", ErrConfig, c.MaxSnapshots)
	case c.MaxEvents < 1:
		return fmt.Errorf("%w: HostConfig.MaxEvents is %d; want at least 1", ErrConfig, c.MaxEvents)
	case c.StorageTimeout < 0:
		return fmt.Errorf("%w: HostConfig.StorageTimeout is %v; want at least 0", ErrConfig, c.StorageTimeout)
	case c.CloseTimeout < 0:
		return fmt.Errorf("%w: HostConfig.CloseTimeout is %v; want more than 0", ErrConfig, c.CloseTimeout)
	}
	return nil
}

// Config has the settings of a group on one host. StateMachine is required. The
// zero value of each other field means its default. Timeouts and limits should
// be the same on all members.
type Config struct {
	// Group is the group's id within the cluster. The default is 1.
	Group GroupID
	// StateMachine is the service's state.
	StateMachine StateMachine
	// Members are the first members of the group, the same list on all of them.
	// On a storage with a state of the group, and with Join, the membership comes
	// from the log. Members then only has addresses, which replace the addresses
	// in the log until the next change of membership. [Node.Resumed] and a log line at
	// level Info tell that Start found a state. The level is Warn if the log has other
	// members or roles.
	Members []Member
	// Join makes a member without a state wait until the leader of a running
	// group, to which this host was added, brings the state. The first members start
	// without Join. A warning is logged if Members has a joining host.
	Join bool
	// CommandsOnly keeps Raft's own entries out of the log, so that commands have
	// consecutive indexes from 1. Config.Members then are the group's members for
	// ever, the same list at each start. A new leader commits the entries of its
	// predecessors and serves reads only after the first command of its own term
	// (section 8). All members of a group set the same.
	CommandsOnly bool
	// Quiesce lets an idle group fall silent. The members of a silent group use no
	// processor time and send no messages until there is something to do. The
	// members notice a failed leader by the lost connection to its host. Quiesce
	// is meant for hosts with many groups. All members of a group set the same.
	Quiesce bool
	// LeaseDuration is the time for which a leader serves reads without asking the
	// others after a majority has confirmed the leadership (thesis 6.4.1). Reads
	// may be stale if one host's clock runs more than
	// ElectionTimeout/LeaseDuration times as fast as another host's. At most
	// ElectionTimeout less one tick, the same on all members. The default is no
	// leases.
	LeaseDuration time.Duration

	// HeartbeatInterval is the interval of an idle leader's messages. The default
	// is 100 ms.
	HeartbeatInterval time.Duration
	// ElectionTimeout is the minimum time without word from the leader after
	// which a member calls an election. Each timeout is drawn from once to twice
	// this value. The default is 1 s. A short timeout means fast failover, and
	// needless elections when network or disk pause as long.
	ElectionTimeout time.Duration

	// MaxCommandBytes bounds one command. The default is 4 MiB. Larger commands
	// are refused with [ErrTooLarge]. The messages of a transport that is [Limited]
	// have room for the largest command.
	MaxCommandBytes int
	// MaxPending bounds the commands of this member between proposal and result.
	// The default is 65,536. Beyond MaxPending, Propose waits, and ProposeAsync and
	// Append refuse with [ErrQueueFull].
	MaxPending int
	// MaxPendingBytes bounds the bytes of these commands, and separately the bytes
	// of the leader's uncommitted entries, which include the commands of Append. The
	// default is 64 MiB. Beyond MaxPendingBytes, proposers wait or are refused as
	// beyond MaxPending. A command that finds no other pending is admitted at any size.
	MaxPendingBytes int
	// MaxReceiveBytes bounds received entries before they are processed. The
	// default is 64 MiB. Messages beyond the bound are dropped, and the leader
	// sends them again.
	MaxReceiveBytes int
	// MaxApplyBytes bounds the committed commands in the state machine's queue.
	// The default is 16 MiB. Further commands wait in the log.
	MaxApplyBytes int
	// MaxBatchBytes bounds the entries of one message, and the commands of one
	// call of Apply. The default is 1 MiB. A larger command goes alone. A transport
	// that is [Limited] makes the messages smaller.
	MaxBatchBytes int
	// MaxCacheBytes bounds the committed entries in memory. The default is 16 MiB.
	// Older entries are read from the storage for members and state machines that
	// need them. Uncommitted entries stay in memory beside them, at most
	// MaxPendingBytes of the leader's.
	MaxCacheBytes int
	// MaxInflight bounds the unanswered messages with entries to one member, and
	// MaxInflightBytes bounds their entries. The defaults are 64 and 4 MiB. Long
	// fast links need more.
	MaxInflight, MaxInflightBytes int

	// PromptCommits has a leader tell the other members of a commit at once if no commands
	// follow, with a message to each. By default they learn of the commit with the next
	// commands, and a [HostConfig.TickInterval] later at the latest. That is as long as a
	// command then takes to its Apply on the other members.
	PromptCommits bool

	// SnapshotEntries is the number of applied entries from one snapshot to the
	// next. The default is 1,000,000. -1 means never by number.
	SnapshotEntries int
	// SnapshotBytes is the size of applied entries from one snapshot to the next.
	// The default is 64 MiB. -1 means never by size. A snapshot also waits until
	// the entries are as large as the last snapshot, so snapshots never cost more
	// disk bandwidth than the log.
	SnapshotBytes int64
	// SnapshotChunkBytes is the size of the pieces of a snapshot on the network.
	// The default is 1 MiB. A transport that is [Limited] makes the pieces smaller.
	SnapshotChunkBytes int
	// SnapshotRate bounds the rate at which the host sends a snapshot of this
	// group to one member, in bytes a second. The default is no bound.
	SnapshotRate int
	// TrailingEntries is the number of entries before a snapshot that stay in the
	// log. The default is 10,000, and -1 means none. The entries serve members that
	// are a little behind, which need no snapshot then. A snapshot by SnapshotBytes
	// keeps no entry from before the last snapshot, so large entries do not fill the
	// disk.
	TrailingEntries int
}

func (c *Config) setDefaults() {
	c.Group = cmp.Or(c.Group, 1)
	c.HeartbeatInterval = cmp.Or(c.HeartbeatInterval, 100*time.Millisecond)
	c.ElectionTimeout = cmp.Or(c.ElectionTimeout, time.Second)
	c.MaxCommandBytes = cmp.Or(c.MaxCommandBytes, 4<<20)
	c.MaxPending = cmp.Or(c.MaxPending, 1<<16)
	c.MaxPendingBytes = cmp.Or(c.MaxPendingBytes, 64<<20)
	c.MaxReceiveBytes = cmp.Or(c.MaxReceiveBytes, 64<<20)
	c.MaxApplyBytes = cmp.Or(c.MaxApplyBytes, 16<<20)
	c.MaxBatchBytes = cmp.Or(c.MaxBatchBytes, 1<<20)
	c.MaxInflight = cmp.Or(c.MaxInflight, 64)
	c.MaxInflightBytes = cmp.Or(c.MaxInflightBytes, 4<<20)
	c.MaxCacheBytes = cmp.Or(c.MaxCacheBytes, 16<<20)
	c.SnapshotChunkBytes = cmp.Or(c.SnapshotChunkBytes, 1<<20)
	c.SnapshotEntries = cmp.Or(c.SnapshotEntries, 1_000_000)
	c.SnapshotBytes = cmp.Or(c.SnapshotBytes, 64<<20)
	c.TrailingEntries = cmp.Or(c.TrailingEntries, 10_000)
}

func (c *Config) validate(tick time.Duration) error {
	if c.StateMachine == nil {
		return fmt.Errorf("%w: Config.StateMachine is nil", ErrConfig)
	}
	if c.HeartbeatInterval < tick {
		return fmt.Errorf("%w: Config.HeartbeatInterval is %v; want at least HostConfig.TickInterval (%v)", ErrConfig, c.HeartbeatInterval, tick)
	}
	if c.ElectionTimeout < 2*c.HeartbeatInterval {
		return fmt.Errorf("%w: Config.ElectionTimeout is %v; want at least twice HeartbeatInterval (%v)", ErrConfig, c.ElectionTimeout, c.HeartbeatInterval)
	}
	positive := []struct {
		name  string
		value int
	}{
		{"MaxCommandBytes", c.MaxCommandBytes}, {"MaxPending", c.MaxPending}, {"MaxPendingBytes", c.MaxPendingBytes},
		{"MaxReceiveBytes", c.MaxReceiveBytes}, {"MaxApplyBytes", c.MaxApplyBytes}, {"MaxBatchBytes", c.MaxBatchBytes},
		{"MaxInflight", c.MaxInflight}, {"MaxInflightBytes", c.MaxInflightBytes},
		{"MaxCacheBytes", c.MaxCacheBytes}, {"SnapshotChunkBytes", c.SnapshotChunkBytes},
	}
	for _, f := range positive {
		if f.value < 1 {
			return fmt.Errorf("%w: Config.%s is %d; want at least 1", ErrConfig, f.name, f.value)
		}
	}
	if c.LeaseDuration < 0 || c.LeaseDuration > c.ElectionTimeout-tick {
		return fmt.Errorf("%w: Config.LeaseDuration is %v; want at most ElectionTimeout less a tick (%v)", ErrConfig, c.LeaseDuration, c.ElectionTimeout-tick)
	}
	if c.SnapshotRate < 0 {
		return fmt.Errorf("%w: Config.SnapshotRate is %d; want at least 0", ErrConfig, c.SnapshotRate)
	}
	if c.SnapshotEntries < -1 || c.SnapshotBytes < -1 {
		return fmt.Errorf("%w: Config.SnapshotEntries is %d and SnapshotBytes %d; want at least 1, or -1 for never", ErrConfig, c.SnapshotEntries, c.SnapshotBytes)
	}
	if c.TrailingEntries < -1 {
		return fmt.Errorf("%w: Config.TrailingEntries is %d; want at least 1, or -1 for none", ErrConfig, c.TrailingEntries)
	}
	if c.CommandsOnly && c.Join {
		return fmt.Errorf("%w: Config.CommandsOnly and Join are set; the members of a group without configurations in its log are fixed", ErrConfig)
	}
	return nil
}

// ticks is how many ticks a duration lasts, at least.
func ticks(d, tick time.Duration) int { return int((d + tick - 1) / tick) }
