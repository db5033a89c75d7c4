package node

import (
	"slices"
	"time"

	"raftlab/raft/core"
)

// peerTable has the groups that need a host. The transport keeps a connection as
// long as one group needs the host. Host.mu guards the table.
type peerTable map[core.NodeID]map[GroupID]*peerUse

// peerUse is a group's need of a host.
type peerUse struct {
	ends time.Time // when the need ends; zero: not known
}

// departureFactor is for how many election timeouts the connection to a removed
// member is kept. The leader tells a removed member of the removal.
const departureFactor = 20

// setPeers tells the transport where a group's members are. The connections to
// hosts that are not among them end later.
func (h *Host) setPeers(n *Node, addresses map[core.NodeID]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.peers == nil {
		h.peers = make(peerTable)
	}
	for id, address := range addresses {
		if id == n.id {
			continue
		}
		if h.peers[id] == nil {
			h.peers[id] = make(map[GroupID]*peerUse)
		}
		h.peers[id][n.cfg.Group] = &peerUse{}
		if address != "" {
			h.transport.SetPeer(id, address)
		}
	}
	for id, groups := range h.peers {
		use := groups[n.cfg.Group]
		if _, member := addresses[id]; !member && use != nil && use.ends.IsZero() {
			use.ends = time.Now().Add(departureFactor * n.cfg.ElectionTimeout)
		}
	}
}

// dropPeers forgets the hosts that no group needs any more.
func (h *Host) dropPeers() {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, groups := range h.peers {
		for group, use := range groups {
			if !use.ends.IsZero() && now.After(use.ends) {
				delete(groups, group)
			}
		}
		if len(groups) == 0 {
			delete(h.peers, id)
			h.transport.RemovePeer(id)
		}
	}
}

// addresses returns where the members of a configuration are reached. The
// addresses in Config.Members come first until the membership changes while this
// member runs. They are also all that a joining member knows.
func (n *Node) addresses(cfg core.Configuration) map[core.NodeID]string {
	all := make(map[core.NodeID]string)
	for _, id := range cfg.IDs() {
		all[id] = cfg.Member(id).Address
	}
	if !n.overrides {
		return all
	}
	for _, m := range n.cfg.Members {
		if _, member := all[m.ID]; (member || cfg.IsZero()) && m.Address != "" {
			all[m.ID] = m.Address
		}
	}
	return all
}

// followMembership takes over the newest configuration.
func (n *Node) followMembership() {
	cfg, _ := n.core.Configuration()
	st := n.core.Status()
	if n.members != nil && !cfg.IsZero() {
		n.overrides = false
	}
	n.membership = place{st.ConfigurationIndex, st.ConfigurationTerm}
	n.members, n.readdressed = n.addresses(cfg), true
	n.roster.Store(rosterOf(cfg, n.members))
	n.host.setPeers(n, n.members)
	index := n.membership.index
	if index == 0 {
		return // a joining member waits for its configuration
	}
	n.log.Info("membership", "index", index, "configuration", cfg.String())
	n.host.events.add(Event{Kind: MembershipChanged, Group: n.cfg.Group, Index: index})
}

// lostPeer reacts to the loss of the connection to a host. The followers of a
// quiescent group count ticks again if they have lost the leader.
func (n *Node) lostPeer(id core.NodeID) {
	n.core.Unreachable(id)
	if n.core.Status().Leader == id {
		n.core.Wake()
	}
}

// rosterOf returns the members of a configuration with the addresses that this host uses.
func rosterOf(cfg core.Configuration, addresses map[core.NodeID]string) *[]Member {
	var all []Member
	for _, id := range cfg.IDs() {
		all = append(all, Member{ID: id, Address: addresses[id], Learner: !cfg.IsVoter(id), Priority: cfg.Member(id).Priority})
	}
	return &all
}

// Members returns the members in the newest configuration of this member's log, by id, with
// the addresses that this host uses. The configuration may not be committed. In a joint
// configuration the outgoing voters are members. Members returns nothing until the member
// has begun to run, and for a joining member without a configuration. The channel of
// [Node.Changed] is closed when the result changes.
func (n *Node) Members() []Member {
	if r := n.roster.Load(); r != nil {
		return slices.Clone(*r)
	}
	return nil
}
