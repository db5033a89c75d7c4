package shardstore

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"raftlab/raft/core"
	"raftlab/raft/node"
)

// Member is a process of a store.
type Member struct {
	Name string
	// ID is the process's host, and Address where the transport of the host is reached.
	ID      core.NodeID
	Address string
	// Learner is set for a process that does not vote yet.
	Learner bool
}

// nameEnd ends the name of a process in an address of Raft's configuration.
const nameEnd = "="

// raftAddress returns the address of a process for Raft's configuration, with the name. The
// first configuration of a store has addresses alone, because the names follow from the
// ids.
func (m Member) raftAddress() string { return m.Name + nameEnd + m.Address }

// SplitAddress returns the name and the address of a process in Raft's configuration. The
// name is "" in configurations from before the first change of processes.
func SplitAddress(address string) (name, plain string) {
	if name, plain, ok := strings.Cut(address, nameEnd); ok {
		return name, plain
	}
	return "", address
}

// Roster has the processes of a store, as the configurations of this process's replicas
// name them. Any goroutine may call the methods.
type Roster struct {
	// first are the processes as the directory names them. They stand for a group until
	// the group's replica knows the members.
	first []Member

	mu     sync.Mutex
	groups map[string][]Member
}

// NewRoster returns a roster of processes as the process's directory names them.
func NewRoster(first []Member) *Roster {
	return &Roster{first: byName(first), groups: make(map[string][]Member)}
}

func byName(members []Member) []Member {
	return slices.SortedFunc(slices.Values(members), func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}

// Named returns the processes that are the members of a configuration of Raft, by name.
func (r *Roster) Named(members []node.Member) []Member {
	var all []Member
	for _, m := range members {
		name, address := SplitAddress(m.Address)
		all = append(all, Member{cmp.Or(name, r.firstName(m.ID)), m.ID, address, m.Learner})
	}
	return byName(all)
}

// update takes the members of a group over from Raft's configuration, and reports whether
// something has changed.
func (r *Roster) update(group string, members []node.Member) bool {
	all := r.Named(members)
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(all, r.groups[group]) {
		return false
	}
	r.groups[group] = all
	return true
}

// firstName returns the name of a host that a configuration does not name.
func (r *Roster) firstName(id core.NodeID) string {
	for _, m := range r.first {
		if m.ID == id {
			return m.Name
		}
	}
	return "host " + strconv.FormatUint(uint64(id), 16)
}

// of returns the processes of a group, by name.
func (r *Roster) of(group string) []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	if all := r.groups[group]; len(all) > 0 {
		return all
	}
	return r.first
}

// Members returns the processes of all groups, by name. During a change a process may be a
// member of some groups alone. Of two processes with one name Members returns the one that
// the other is to be replaced by, once that one votes in a group.
func (r *Roster) Members() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]Member)
	for _, gid := range slices.Sorted(maps.Keys(r.groups)) { // the controllers come last, and change last
		for _, m := range r.groups[gid] {
			if known, ok := all[m.Name]; !ok || known.Learner && !m.Learner {
				all[m.Name] = m
			}
		}
	}
	if len(all) == 0 {
		return r.first
	}
	return byName(slices.Collect(maps.Values(all)))
}

// NameOf returns the name of a host, "" for a host of no process.
func (r *Roster) NameOf(id core.NodeID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, all := range r.groups {
		if i := slices.IndexFunc(all, func(m Member) bool { return m.ID == id }); i >= 0 {
			return all[i].Name
		}
	}
	if i := slices.IndexFunc(r.first, func(m Member) bool { return m.ID == id }); i >= 0 {
		return r.first[i].Name
	}
	return ""
}

// Host returns the host of a server. If a group has two processes of one name, one is about
// to replace the other, which votes until then.
func (r *Roster) Host(server string) (core.NodeID, bool) {
	name, group, _ := strings.Cut(server, "/")
	r.mu.Lock()
	all := r.groups[group]
	r.mu.Unlock()
	if len(all) == 0 { // the server is not that of a group, or the group is not known yet
		all = r.Members()
	}
	found, ok := Member{}, false
	for _, m := range all {
		if m.Name == name && (!ok || found.Learner) {
			found, ok = m, true
		}
	}
	return found.ID, ok
}
