package node

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"
)

// HostConfig has the settings of a host. Storage and Transport are required;
// the zero value of each other field means its default.
type HostConfig struct {
	// Storage holds the state of all groups, and the host's identity. The host
	// owns it from then on, and closes it.
	Storage Storage
	// Transport reaches the other hosts. The host owns it from then on, and
	// closes it.
	Transport Transport
	// TickInterval is the unit of Raft's time; default 10 ms. Timeouts are
	// multiples of it. A shorter one makes timeouts more precise and costs
	// processor time for each group that is not quiescent.
	TickInterval time.Duration
	// Workers is the number of goroutines that run Raft, and again of those
	// that run state machines; default GOMAXPROCS. A state machine that blocks
	// in Apply keeps one of them busy.
	Workers int
	// MaxSnapshots is the number of snapshots that are written, sent or
	// received at the same time, over all groups; default 2. More finish
	// sooner together and take more memory and disk bandwidth from proposals.
	MaxSnapshots int
	// CloseTimeout is how long Close waits for a storage that does not answer;
	// default 10 s.
	CloseTimeout time.Duration
	// Logger receives changes of role and membership at level Info, what an
	// operator should look at as Warn, and failures as Error; default: silent.
	Logger *slog.Logger
	// Observe is called with each event, in order, from one goroutine. If
	// Observe is slower than events occur, events are dropped and counted in
	// [Stats]; default: none.
	Observe func(Event)
	// Trace is told of each message; default: nobody is told.
	Trace *Trace
}

func (c *HostConfig) setDefaults() error {
	if c.TickInterval == 0 {
		c.TickInterval = 10 * time.Millisecond
	}
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.MaxSnapshots == 0 {
		c.MaxSnapshots = 2
	}
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 10 * time.Second
	}
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
	}
	return nil
}

// Config has the settings of a group on one host. StateMachine is required; the
// zero value of each other field means its default. Timeouts and limits should
// be the same on all members.
type Config struct {
	// Group is the group's id within the cluster; default 1.
	Group GroupID
	// StateMachine is the service's state.
	StateMachine StateMachine
	// Members are the members that the group begins with, the same list on each
	// of them. On a storage that holds a state of the group, and with Join, the
	// membership comes from there, and Members only tells where the others are:
	// these addresses replace those of the stored membership until the next
	// change.
	Members []Member
	// Join makes a member without a state wait until the leader of a running
	// group, to which this host was added, brings the state.
	Join bool
	// Quiesce lets an idle group fall silent: its members then cost no processor
	// time and no messages until there is something to do. A failed leader is
	// noticed by the loss of the connection to its host. For hosts with many
	// groups. All members of a group set the same.
	Quiesce bool
	// LeaseDuration lets a leader serve reads without asking the others for this
	// long after it has last heard from a majority (thesis 6.4.1). Reads may be
	// stale if the clock of one host runs faster than that of another by more
	// than the ratio ElectionTimeout/LeaseDuration. At most ElectionTimeout less
	// one tick, the same on all members; default: no leases.
	LeaseDuration time.Duration

	// HeartbeatInterval is how often an idle leader sends; default 100 ms.
	HeartbeatInterval time.Duration
	// ElectionTimeout is how long a member waits for word from the leader before
	// it seeks election, drawn anew each time from once to twice this value;
	// default 1 s. Shorter means faster failover, and elections on a network or
	// a disk that pauses as long.
	ElectionTimeout time.Duration

	// MaxCommandBytes bounds one command; default 4 MiB. Larger ones are refused
	// with [ErrTooLarge].
	MaxCommandBytes int
	// MaxPending bounds the commands that are proposed here and not yet applied
	// here; default 65,536. Beyond it Propose waits, and ProposeAsync refuses
	// with [ErrQueueFull].
	MaxPending int
	// MaxPendingBytes bounds the bytes of these commands; default 64 MiB. A
	// single command is admitted whatever its size.
	MaxPendingBytes int
	// MaxReceiveBytes bounds the entries that were received and not yet
	// processed; default 64 MiB. Messages beyond it are dropped and sent again.
	MaxReceiveBytes int
	// MaxApplyBytes bounds the committed commands that were handed to the state
	// machine and are not yet applied; default 16 MiB.
	MaxApplyBytes int
	// MaxBatchBytes bounds the entries of one message, and what one call of
	// Apply gets; default 1 MiB. A larger command goes alone.
	MaxBatchBytes int
	// MaxCacheBytes bounds the entries that stay in memory though they are
	// stored; default 16 MiB. Members that are further behind, and a state
	// machine that is, are served from the storage.
	MaxCacheBytes int
	// MaxInflight bounds the messages with entries that are on their way to one
	// member, default 64, and MaxInflightBytes their entries, default 4 MiB.
	// Long fast links need more.
	MaxInflight, MaxInflightBytes int

	// SnapshotEntries is the number of applied entries after which a snapshot
	// is taken; default 1,000,000. -1 means never by number.
	SnapshotEntries int
	// SnapshotBytes is the size of applied entries after which a snapshot is
	// taken, if it is also more than the size of the last snapshot; default
	// 64 MiB. -1 means never by size. So writing snapshots never costs more than
	// writing the log.
	SnapshotBytes int64
	// SnapshotChunkBytes is the size of the pieces in which a snapshot is sent to
	// a member; default 1 MiB.
	SnapshotChunkBytes int
	// SnapshotRate bounds how fast the host sends a snapshot of this group to one
	// member, in bytes a second; default: no bound.
	SnapshotRate int
	// TrailingEntries is the number of entries before a snapshot that the log
	// keeps for members that are a little behind; default 10,000.
	TrailingEntries int
}

func (c *Config) setDefaults() {
	setDefault(&c.Group, 1)
	setDefault(&c.HeartbeatInterval, 100*time.Millisecond)
	setDefault(&c.ElectionTimeout, time.Second)
	setDefault(&c.MaxCommandBytes, 4<<20)
	setDefault(&c.MaxPending, 1<<16)
	setDefault(&c.MaxPendingBytes, 64<<20)
	setDefault(&c.MaxReceiveBytes, 64<<20)
	setDefault(&c.MaxApplyBytes, 16<<20)
	setDefault(&c.MaxBatchBytes, 1<<20)
	setDefault(&c.MaxInflight, 64)
	setDefault(&c.MaxInflightBytes, 4<<20)
	setDefault(&c.MaxCacheBytes, 16<<20)
	setDefault(&c.SnapshotChunkBytes, 1<<20)
	setDefault(&c.SnapshotEntries, 1_000_000)
	setDefault(&c.SnapshotBytes, 64<<20)
	setDefault(&c.TrailingEntries, 10_000)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
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
		{"MaxInflight", c.MaxInflight}, {"MaxInflightBytes", c.MaxInflightBytes}, {"TrailingEntries", c.TrailingEntries},
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
	return nil
}

// ticks is how many ticks a duration lasts, at least.
func ticks(d, tick time.Duration) int { return int((d + tick - 1) / tick) }
