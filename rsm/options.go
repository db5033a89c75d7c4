package rsm

import (
	"fmt"
	"log/slog"
)

// Options are the settings of a Replica. A zero field stands for its default.
type Options struct {
	// SnapshotBytes is the size of the applied commands, in bytes, from which on a
	// snapshot is taken. With 0 or -1 the replica takes no snapshots by itself. Only
	// applied commands count, because a snapshot removes no others from the log. The
	// service goes on while a snapshot is encoded and saved. Applying waits only if
	// twice SnapshotBytes are applied meanwhile, and enough for the next snapshot.
	SnapshotBytes int
	// SnapshotGrowth postpones a snapshot until the applied commands are also as
	// large as SnapshotGrowth times the last snapshot. With 1, snapshots write at
	// most twice the bytes that the log receives, however large the state is. With 0
	// SnapshotBytes alone decides.
	SnapshotGrowth float64
	// MaxInFlightBytes bounds the commands that were submitted here and are not
	// applied yet, in bytes. Further commands wait. A command over the bound is
	// proposed when no other is in flight. The default is [DefaultInFlightBytes], or
	// three times SnapshotBytes if that is smaller, but at least 3 KiB.
	MaxInFlightBytes int
	// MaxInFlight bounds the number of these commands. As many again may wait. Others
	// are refused with [ErrBusy]. The default is [DefaultInFlight].
	MaxInFlight int
	// MaxSessions bounds the client sessions. All replicas must have the same bound.
	// The default is [DefaultMaxSessions]. A [SessionKeeper] has its own bound.
	MaxSessions int
	// Logger receives snapshots and failures. The default discards them.
	Logger *slog.Logger
}

const (
	// DefaultMaxSessions is the default of Options.MaxSessions.
	DefaultMaxSessions = 1 << 16
	// DefaultInFlightBytes is the default of Options.MaxInFlightBytes.
	DefaultInFlightBytes = 16 << 20
	// DefaultInFlight is the default of Options.MaxInFlight.
	DefaultInFlight = 1 << 14

	// minInFlightBytes is the smallest default of Options.MaxInFlightBytes. It lets
	// small commands share a round of replication.
	minInFlightBytes = 3 << 10
)

func (o *Options) setDefaults() error {
	if o.MaxSessions == 0 {
		o.MaxSessions = DefaultMaxSessions
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxInFlightBytes == 0 {
		o.MaxInFlightBytes = DefaultInFlightBytes
		if o.SnapshotBytes > 0 {
			o.MaxInFlightBytes = min(DefaultInFlightBytes, max(3*o.SnapshotBytes, minInFlightBytes))
		}
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = DefaultInFlight
	}
	switch {
	case o.MaxSessions < 1:
		return fmt.Errorf("rsm: Options.MaxSessions is %d; want at least 1", o.MaxSessions)
	case o.MaxInFlightBytes < 1:
		return fmt.Errorf("rsm: Options.MaxInFlightBytes is %d; want at least 1", o.MaxInFlightBytes)
	case o.MaxInFlight < 1:
		return fmt.Errorf("rsm: Options.MaxInFlight is %d; want at least 1", o.MaxInFlight)
	case o.SnapshotGrowth < 0:
		return fmt.Errorf("rsm: Options.SnapshotGrowth is %v; want at least 0", o.SnapshotGrowth)
	}
	return nil
}
