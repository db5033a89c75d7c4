package node

import (
	"cmp"
	"fmt"
	"slices"

	"raftlab/raft/core"
)

// Member is a host that takes part in a group.
type Member struct {
	// ID is the host's id.
	ID core.NodeID
	// Address is where the host's transport is reached, of at most
	// core.MaxAddressBytes.
	Address string
	// Learner members receive the log and do not vote (thesis 4.2.1).
	Learner bool
	// Priority ranks the voters: leadership moves to a voter of the highest
	// priority once that voter has the whole log.
	Priority uint8
}

// bootstrapIndex and bootstrapTerm are the place of the entry with the first
// configuration. All first members store the same entry, as if a leader of term 1
// had replicated the entry to them.
const bootstrapIndex, bootstrapTerm = 1, 1

// Bootstrap begins a group on one of its first members. Bootstrap stores the first
// configuration, with these members, in the member's storage. Every member is
// bootstrapped with the same list before its start. The storage must not be in use
// by a host. [Config.Members] does the same as part of Start.
//
// A group begins once. If the storage holds a state of the group, the error
// matches [ErrBootstrapped] and the storage stays as it is.
func Bootstrap(storage Storage, group GroupID, members []Member) error {
	err := bootstrap(storage, group, members)
	if err != nil {
		err = while(err, "bootstrapping group %d on host %d", group, storage.Identity().Host)
	}
	return err
}

func bootstrap(storage Storage, group GroupID, members []Member) error {
	if group == 0 {
		return fmt.Errorf("%w: the group is 0, which means no group", ErrConfig)
	}
	cfg := configuration(members)
	if err := checkBootstrap(storage.Identity().Host, cfg); err != nil {
		return err
	}
	state, err := storage.Load(group)
	if err != nil {
		return err
	}
	if !state.empty() {
		return ErrBootstrapped
	}
	return storage.Save([]Update{{
		Group:     group,
		HardState: &core.HardState{CurrentTerm: bootstrapTerm},
		Entries: []core.Entry{{
			Index: bootstrapIndex, Term: bootstrapTerm, Type: core.ConfigurationEntry, Data: cfg.Encode(),
		}},
	}})
}

// checkBootstrap refuses members that cannot begin a group on a host.
func checkBootstrap(host core.NodeID, cfg core.Configuration) error {
	if _, err := core.DecodeConfiguration(cfg.Encode()); err != nil {
		return fmt.Errorf("%w: members: %w", ErrConfig, err)
	}
	if !cfg.Contains(host) {
		return fmt.Errorf("%w: host %d is not among the members %v", ErrConfig, host, cfg.IDs())
	}
	return nil
}

// empty reports whether nothing was ever stored.
func (s *State) empty() bool {
	return s.HardState == (core.HardState{}) && s.Snapshot.Index == 0 && s.LastIndex == 0
}

// configuration is the core's form of a list of members.
func configuration(members []Member) core.Configuration {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	var cfg core.Configuration
	for _, m := range members {
		if m.Learner {
			cfg.Learners = append(cfg.Learners, m.ID)
		} else {
			cfg.Voters = append(cfg.Voters, m.ID)
		}
		cfg.Members = append(cfg.Members, core.Member{ID: m.ID, Address: m.Address, Priority: m.Priority})
	}
	return cfg
}

// membersOf is the inverse of configuration. Members that are being removed are
// not listed.
func membersOf(cfg core.Configuration) []Member {
	var members []Member
	for _, list := range []struct {
		ids     []core.NodeID
		learner bool
	}{{cfg.Voters, false}, {cfg.Learners, true}} {
		for _, id := range list.ids {
			m := cfg.Member(id)
			members = append(members, Member{ID: id, Address: m.Address, Learner: list.learner, Priority: m.Priority})
		}
	}
	return members
}

// loadGroup reads a group's state, and begins the group if there is none. resumed
// reports a state from before.
func (h *Host) loadGroup(cfg *Config) (saved core.Persistent, header SnapshotHeader, resumed bool, err error) {
	state, err := h.storage.Load(cfg.Group)
	resumed = !state.empty()
	if err == nil && cfg.CommandsOnly {
		err = h.checkFixed(cfg, &state)
	} else if err == nil && !resumed {
		state, err = h.beginGroup(cfg)
	}
	if err != nil {
		return core.Persistent{}, SnapshotHeader{}, false, err
	}
	saved, err = h.persistent(cfg.Group, &state)
	return saved, state.Snapshot, resumed, err
}

// persistent is the core's form of a group's state.
func (h *Host) persistent(group GroupID, state *State) (core.Persistent, error) {
	var err error
	saved := core.Persistent{
		HardState: state.HardState,
		Snapshot:  core.Snapshot{LastIncludedIndex: state.Snapshot.Index, LastIncludedTerm: state.Snapshot.Term},
		Stored: &core.StoredLog{
			CompactedIndex: state.CompactedIndex,
			CompactedTerm:  state.CompactedTerm,
			LastIndex:      state.LastIndex,
			Terms:          state.Terms,
		},
	}
	if data := state.Snapshot.Configuration; len(data) > 0 {
		if saved.Snapshot.Configuration, err = core.DecodeConfiguration(data); err != nil {
			return saved, fmt.Errorf("%w: the snapshot at index %d: %w", ErrDamaged, state.Snapshot.Index, err)
		}
	}
	for _, index := range state.ConfigIndexes {
		entries, err := h.entries(group, index, index, 1)
		if err != nil {
			return saved, while(err, "reading the configuration at index %d", index)
		}
		saved.Stored.Configurations = append(saved.Stored.Configurations, entries...)
	}
	return saved, nil
}

// reportResumption tells an operator that Config.Members has begun no group, because the
// storage has a state. The same list at each start is no mistake. Another list is one,
// or older than the last change of the membership.
func (n *Node) reportResumption() {
	stored, index := n.core.Configuration()
	st := n.core.Status()
	log := n.log.With("term", st.CurrentTerm, "last index", st.LastIndex, "membership", stored.String(), "membership index", index)
	given := configuration(n.cfg.Members)
	switch {
	case n.cfg.CommandsOnly: // the log has no membership
		n.log.Info("the group continues from its storage", "term", st.CurrentTerm, "last index", st.LastIndex)
	case len(n.cfg.Members) == 0 || n.cfg.Join || sameMembers(given, stored):
		log.Info("the group continues from its storage")
	default:
		log.Warn("the group continues from its storage, and Config.Members differs from the stored membership, which counts", "Config.Members", given.String())
	}
}

// sameMembers reports whether two configurations have the same ids and roles.
func sameMembers(a, b core.Configuration) bool {
	return slices.Equal(a.Voters, b.Voters) && slices.Equal(a.Outgoing, b.Outgoing) && slices.Equal(a.Learners, b.Learners)
}

// Resumed reports whether the storage had a state of the group before Start, from an
// earlier run or from [Bootstrap]. [Config.Members] then began no group, and
// the membership is that of the log.
func (n *Node) Resumed() bool { return n.resumed }

// beginGroup bootstraps a group, or leaves a joining member without a state.
func (h *Host) beginGroup(cfg *Config) (State, error) {
	switch {
	case cfg.Join:
		if slices.ContainsFunc(cfg.Members, func(m Member) bool { return m.ID == h.identity.Host }) {
			h.log.Warn("the host waits until a running group adds it; a host of Config.Members that begins the group starts without Config.Join", "group", uint64(cfg.Group))
		}
		return State{}, nil
	case len(cfg.Members) == 0:
		return State{}, ErrNotBootstrapped
	}
	if err := bootstrap(h.storage, cfg.Group, cfg.Members); err != nil {
		return State{}, err
	}
	return h.storage.Load(cfg.Group)
}

// checkFixed refuses a group of commands only without members, or with a
// configuration in its log.
func (h *Host) checkFixed(cfg *Config, state *State) error {
	if len(cfg.Members) == 0 {
		return fmt.Errorf("%w: Config.CommandsOnly is set, and Config.Members is empty", ErrConfig)
	}
	if err := checkBootstrap(h.identity.Host, configuration(cfg.Members)); err != nil {
		return err
	}
	if len(state.ConfigIndexes) > 0 {
		return fmt.Errorf("%w: Config.CommandsOnly is set, and the log has a configuration at index %d", ErrConfig, state.ConfigIndexes[0])
	}
	return nil
}
