package core

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Configuration is the membership of a cluster (§6, thesis 4). All lists are sorted by id
// and name a server at most once.
type Configuration struct {
	// Voters elect leaders and commit entries.
	Voters []NodeID
	// Outgoing are the voters of the replaced configuration. A configuration with Outgoing
	// voters is joint. Elections and commitment then need a majority of Voters and a
	// majority of Outgoing.
	Outgoing []NodeID
	// Learners receive entries and do not vote (thesis 4.2.1).
	Learners []NodeID
	// Members hold attributes of voters and learners. A server need not have any.
	Members []Member
}

// Member holds the attributes of one server of a [Configuration].
type Member struct {
	ID NodeID
	// Address is where the host finds the server. The core only copies it.
	Address string
	// Priority ranks the voters. A server with a lower priority than another voter waits an
	// election timeout longer before calling an election, and as the leader transfers
	// leadership to a voter of higher priority that keeps up.
	Priority uint8
}

const (
	// MaxMembers bounds the voters and learners of a configuration.
	MaxMembers = 256
	// MaxAddressBytes bounds the address of a member.
	MaxAddressBytes = 1024
)

// IsZero reports whether cfg has no servers.
func (cfg Configuration) IsZero() bool {
	return len(cfg.Voters) == 0 && len(cfg.Outgoing) == 0 && len(cfg.Learners) == 0
}

// Joint reports whether cfg is the transition between two configurations.
func (cfg Configuration) Joint() bool { return len(cfg.Outgoing) > 0 }

// IsVoter reports whether id votes, also in the outgoing part of a joint configuration.
func (cfg Configuration) IsVoter(id NodeID) bool {
	return slices.Contains(cfg.Voters, id) || slices.Contains(cfg.Outgoing, id)
}

// Contains reports whether id is a voter or a learner.
func (cfg Configuration) Contains(id NodeID) bool {
	return cfg.IsVoter(id) || slices.Contains(cfg.Learners, id)
}

// IDs returns all voters and learners, sorted.
func (cfg Configuration) IDs() []NodeID {
	ids := slices.Concat(cfg.Voters, cfg.Outgoing, cfg.Learners)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Member returns the attributes of a server, or zero attributes for a server without any.
func (cfg Configuration) Member(id NodeID) Member {
	if i := slices.IndexFunc(cfg.Members, func(m Member) bool { return m.ID == id }); i >= 0 {
		return cfg.Members[i]
	}
	return Member{ID: id}
}

// Equal reports whether two configurations are the same.
func (cfg Configuration) Equal(other Configuration) bool {
	return string(cfg.Encode()) == string(other.Encode())
}

// Clone returns a copy that shares nothing with cfg.
func (cfg Configuration) Clone() Configuration {
	return Configuration{slices.Clone(cfg.Voters), slices.Clone(cfg.Outgoing), slices.Clone(cfg.Learners), slices.Clone(cfg.Members)}
}

// String shows the voters, the outgoing voters and the learners.
func (cfg Configuration) String() string {
	s := fmt.Sprintf("voters=%v", cfg.Voters)
	if cfg.Joint() {
		s += fmt.Sprintf(" outgoing=%v", cfg.Outgoing)
	}
	if len(cfg.Learners) > 0 {
		s += fmt.Sprintf(" learners=%v", cfg.Learners)
	}
	return s
}

// sorted returns a copy of cfg with sorted lists.
func (cfg Configuration) sorted() Configuration {
	cfg = cfg.Clone()
	slices.Sort(cfg.Voters)
	slices.Sort(cfg.Outgoing)
	slices.Sort(cfg.Learners)
	slices.SortFunc(cfg.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return cfg
}

// validate checks a sorted configuration.
func (cfg Configuration) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrBadConfiguration}, args...)...)
	}
	if len(cfg.Voters) == 0 {
		return bad("no voters")
	}
	for _, list := range [][]NodeID{cfg.Voters, cfg.Outgoing, cfg.Learners} {
		for i, id := range list {
			switch {
			case id == None:
				return bad("server 0 means no server")
			case i > 0 && list[i-1] == id:
				return bad("server %d is named twice", id)
			case i > 0 && list[i-1] > id:
				return bad("servers %d and %d are not in order", list[i-1], id)
			}
		}
	}
	for _, id := range cfg.Learners {
		if slices.Contains(cfg.Voters, id) {
			return bad("server %d is a voter and a learner", id)
		}
	}
	if n := len(cfg.IDs()); n > MaxMembers {
		return bad("%d members; at most %d are allowed", n, MaxMembers)
	}
	for i, m := range cfg.Members {
		switch {
		case !cfg.Contains(m.ID):
			return bad("server %d has attributes and is no member", m.ID)
		case i > 0 && cfg.Members[i-1].ID >= m.ID:
			return bad("server %d has attributes twice", m.ID)
		case len(m.Address) > MaxAddressBytes:
			return bad("the address of server %d has %d bytes; at most %d are allowed", m.ID, len(m.Address), MaxAddressBytes)
		}
	}
	return nil
}

// joint returns the transition from cfg to next. Servers of cfg alone keep their attributes
// until the transition ends.
func (cfg Configuration) joint(next Configuration) Configuration {
	j := next.Clone()
	j.Outgoing = slices.Clone(cfg.Voters)
	for _, m := range cfg.Members {
		if j.Contains(m.ID) && !next.Contains(m.ID) {
			j.Members = append(j.Members, m)
		}
	}
	return j.sorted()
}

// left returns the configuration behind the joint configuration cfg.
func (cfg Configuration) left() Configuration {
	next := cfg.Clone()
	next.Outgoing = nil
	next.Members = slices.DeleteFunc(next.Members, func(m Member) bool { return !next.Contains(m.ID) })
	return next
}

// topPriority returns the highest priority of a voter.
func (cfg Configuration) topPriority() uint8 {
	top := uint8(0)
	for _, m := range cfg.Members {
		if m.Priority > top && slices.Contains(cfg.Voters, m.ID) {
			top = m.Priority
		}
	}
	return top
}

// configurationVersion is the format of Encode and DecodeConfiguration.
const configurationVersion = 1

// Encode returns cfg as the data of a [ConfigurationEntry].
func (cfg Configuration) Encode() []byte {
	b := []byte{configurationVersion}
	for _, ids := range [][]NodeID{cfg.Voters, cfg.Outgoing, cfg.Learners} {
		b = binary.AppendUvarint(b, uint64(len(ids)))
		for _, id := range ids {
			b = binary.AppendUvarint(b, uint64(id))
		}
	}
	b = binary.AppendUvarint(b, uint64(len(cfg.Members)))
	for _, m := range cfg.Members {
		b = binary.AppendUvarint(b, uint64(m.ID))
		b = append(b, m.Priority)
		b = binary.AppendUvarint(b, uint64(len(m.Address)))
		b = append(b, m.Address...)
	}
	return b
}

// DecodeConfiguration is the inverse of Encode. Any other data gets an error that matches
// [ErrBadConfiguration].
func DecodeConfiguration(data []byte) (Configuration, error) {
	if len(data) == 0 || data[0] != configurationVersion {
		return Configuration{}, fmt.Errorf("%w: unknown format of %d bytes", ErrBadConfiguration, len(data))
	}
	var cfg Configuration
	r := configurationReader{left: data[1:]}
	for _, ids := range []*[]NodeID{&cfg.Voters, &cfg.Outgoing, &cfg.Learners} {
		for range r.count() {
			*ids = append(*ids, NodeID(r.number()))
		}
	}
	for range r.count() {
		cfg.Members = append(cfg.Members, Member{ID: NodeID(r.number()), Priority: r.bytes(1)[0], Address: string(r.bytes(r.number()))})
	}
	if r.failed || string(cfg.Encode()) != string(data) {
		return Configuration{}, fmt.Errorf("%w: %d bytes cannot be decoded", ErrBadConfiguration, len(data))
	}
	if err := cfg.validate(); err != nil {
		return Configuration{}, err
	}
	return cfg, nil
}

// configurationReader reads encoded numbers and bytes, and zeros after a failure.
type configurationReader struct {
	left   []byte
	failed bool
}

func (r *configurationReader) number() uint64 {
	v, n := binary.Uvarint(r.left)
	if n <= 0 || r.failed {
		r.failed = true
		return 0
	}
	r.left = r.left[n:]
	return v
}

// count reads the length of a list. Each element takes a byte at least.
func (r *configurationReader) count() uint64 { return min(r.number(), uint64(len(r.left))) }

func (r *configurationReader) bytes(n uint64) []byte {
	if r.failed || n > uint64(len(r.left)) {
		r.failed = true
		return make([]byte, min(n, 1))
	}
	b := r.left[:n]
	r.left = r.left[n:]
	return b
}
