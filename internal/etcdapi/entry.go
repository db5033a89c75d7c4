package etcdapi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftlab/internal/auth"
	"raftlab/mvcc"
	"raftlab/raft/core"
)

// entryFormat is the version of the encoding of log entries.
const entryFormat = 1

// entry is a decoded log entry: who proposed it, and one of several requests.
type entry struct {
	origin core.NodeID // the member that took the request
	serial uint64      // the request among those of the member
	caller caller      // of a command or a change of users

	command *mvcc.Command
	alarm   *alarmChange
	publish *attributes
	level   int // of the cluster from this entry on, see Level

	promotion *promotion
	write     *Write
	auth      *auth.Change
}

// caller is who asked for a command or a change of users.
type caller struct {
	auth.Identity
	own bool // a member of the cluster, which may do everything
}

// Kinds of entries. The values never change. A member that does not know the kind of an
// entry stops, because its state would differ from then on. So a version of raftlab that
// introduces a kind, or changes the encoding of one, adds a [Level], and writes the kind in
// clusters of that level alone.
// The kinds of a command differ in the caller:
// a client without a name, a user, or a member. The command of a user, and a change of
// users, follow the user's name and revision.
const (
	entryCommand = iota + 1
	entryAlarm
	entryPublish
	entryPromotion
	entryUserCommand
	entryOwnCommand
	entryAuth
	entryLevel // in clusters of level 2
)

// entryWrite is the kind of a [Write].
const entryWrite = 16

// alarm is one member's alarm of one type.
type alarm struct {
	member core.NodeID
	kind   pb.AlarmType
}

// alarmChange raises an alarm, or ends it.
type alarmChange struct {
	alarm
	raised bool
}

// promotion says that a learner is to become a voter, or no longer.
type promotion struct {
	member core.NodeID
	wanted bool
}

// attributes are what a member publishes about itself.
type attributes struct {
	member     core.NodeID
	name       string
	clientURLs []string
}

func (a *attributes) equal(b attributes) bool {
	return a.member == b.member && a.name == b.name && slices.Equal(a.clientURLs, b.clientURLs)
}

var errEntry = errors.New("etcdapi: the log entry is damaged")

// encode returns the log entry.
func (e *entry) encode() ([]byte, error) {
	to := append(make([]byte, 0, 256), entryFormat)
	to = binary.AppendUvarint(to, uint64(e.origin))
	to = binary.BigEndian.AppendUint64(to, e.serial)
	switch {
	case e.command != nil && e.caller.own:
		return e.command.Append(append(to, entryOwnCommand))
	case e.command != nil && e.caller.User != "":
		return e.command.Append(appendIdentity(append(to, entryUserCommand), e.caller.Identity))
	case e.command != nil:
		return e.command.Append(append(to, entryCommand))
	case e.auth != nil:
		change, err := e.auth.Encode()
		return append(appendIdentity(append(to, entryAuth), e.caller.Identity), change...), err
	case e.alarm != nil:
		to = append(to, entryAlarm, flag(e.alarm.raised))
		to = binary.AppendUvarint(to, uint64(e.alarm.member))
		return binary.AppendUvarint(to, uint64(e.alarm.kind)), nil
	}
	if e.promotion != nil {
		to = append(to, entryPromotion, flag(e.promotion.wanted))
		return binary.AppendUvarint(to, uint64(e.promotion.member)), nil
	}
	if e.level != 0 {
		return binary.AppendUvarint(append(to, entryLevel), uint64(e.level)), nil
	}
	if e.write != nil {
		return e.write.append(append(to, entryWrite)), nil
	}
	return e.publish.append(append(to, entryPublish)), nil
}

func appendIdentity(to []byte, who auth.Identity) []byte {
	to = binary.AppendUvarint(to, uint64(len(who.User)))
	return binary.AppendUvarint(append(to, who.User...), who.Revision)
}

func flag(is bool) byte {
	if is {
		return 1
	}
	return 0
}

func (a *attributes) append(to []byte) []byte {
	to = binary.AppendUvarint(to, uint64(a.member))
	to = binary.AppendUvarint(to, uint64(len(a.clientURLs)))
	for _, s := range append([]string{a.name}, a.clientURLs...) {
		to = binary.AppendUvarint(to, uint64(len(s)))
		to = append(to, s...)
	}
	return to
}

// decodeEntry decodes a log entry.
func decodeEntry(data []byte) (entry, error) {
	p := fields{data: data}
	if format := p.byte(); format > entryFormat {
		return entry{}, fmt.Errorf("%w: an entry of format %d; this version of raftlab reads format %d and levels %d to %d", ErrFormat, format, entryFormat, firstLevel, Level)
	} else if format < entryFormat {
		return entry{}, fmt.Errorf("%w: format %d", errEntry, format)
	}
	e := entry{origin: core.NodeID(p.uvarint()), serial: binary.BigEndian.Uint64(append(p.bytes(8), make([]byte, 8)...))}
	switch kind := p.byte(); {
	case p.failed:
	case kind == entryCommand, kind == entryUserCommand, kind == entryOwnCommand:
		e.caller.own = kind == entryOwnCommand
		if kind == entryUserCommand {
			e.caller.Identity = p.identity()
		}
		c, err := mvcc.Decode(p.data)
		if err != nil {
			return entry{}, fmt.Errorf("%w: %w", errEntry, err)
		}
		e.command, p.data = &c, nil
	case kind == entryAuth:
		e.caller.Identity = p.identity()
		c, err := auth.DecodeChange(p.data)
		if err != nil {
			return entry{}, fmt.Errorf("%w: %w", errEntry, err)
		}
		e.auth, p.data = &c, nil
	case kind == entryAlarm:
		raised := p.byte() == 1
		e.alarm = &alarmChange{alarm{core.NodeID(p.uvarint()), pb.AlarmType(p.uvarint())}, raised}
	case kind == entryPublish:
		a := p.attributes()
		e.publish = &a
	case kind == entryPromotion:
		wanted := p.byte() == 1
		e.promotion = &promotion{core.NodeID(p.uvarint()), wanted}
	case kind == entryLevel:
		e.level = int(min(p.uvarint(), math.MaxInt32))
	case kind == entryWrite:
		e.write = p.write()
	default:
		return entry{}, fmt.Errorf("%w: an entry of kind %d, which this version of raftlab does not know; it reads levels %d to %d", ErrFormat, kind, firstLevel, Level)
	}
	if p.failed || len(p.data) > 0 {
		return entry{}, fmt.Errorf("%w: %d bytes, of which %d are left", errEntry, len(data), len(p.data))
	}
	return e, nil
}

// fields reads encoded fields. After the end of the data it returns zero values.
type fields struct {
	data   []byte
	failed bool
}

func (p *fields) byte() byte {
	if b := p.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (p *fields) bytes(n uint64) []byte {
	if p.failed = p.failed || n > uint64(len(p.data)); p.failed {
		return nil
	}
	b := p.data[:n:n]
	p.data = p.data[n:]
	return b
}

func (p *fields) uvarint() uint64 {
	n, size := binary.Uvarint(p.data)
	if p.failed = p.failed || size <= 0; p.failed {
		return 0
	}
	p.data = p.data[size:]
	return n
}

func (p *fields) string() string { return string(p.bytes(p.uvarint())) }

func (p *fields) identity() auth.Identity {
	user := p.string()
	return auth.Identity{User: user, Revision: p.uvarint()}
}

func (p *fields) attributes() attributes {
	a := attributes{member: core.NodeID(p.uvarint())}
	urls := p.uvarint()
	a.name = p.string()
	for i := uint64(0); i < urls && !p.failed; i++ {
		a.clientURLs = append(a.clientURLs, p.string())
	}
	return a
}
