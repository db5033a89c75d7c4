package memnet

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"raftlab/raft/core"
)

// Reasons of a lost peer.
var (
	errLeft = errors.New("memnet: the peer has left the network")
	errCut  = errors.New("memnet: the link is cut")
)

// cut is a cut of a link of which the hosts do not know yet. Network.mu guards the timer.
type cut struct{ timer *time.Timer }

// peerEvent is word to a host that a peer is up, or down for a reason.
type peerEvent struct {
	host   *Transport
	peer   core.NodeID
	reason error // nil: up
}

// change makes a change in the network, and tells the hosts which peers are up or down by
// the change.
func (nw *Network) change(f func()) {
	nw.telling.Lock()
	defer nw.telling.Unlock()
	nw.mu.Lock()
	f()
	events := nw.review()
	nw.mu.Unlock()
	for _, e := range events {
		if e.reason == nil {
			e.host.receiver.PeerUp(e.peer)
		} else {
			e.host.receiver.PeerDown(e.peer, e.reason)
		}
		e.host.delivers.Done()
	}
}

// review compares the links with the hosts' knowledge. nw.mu is held.
func (nw *Network) review() []peerEvent {
	var events []peerEvent
	tell := func(l link, reason error) {
		nw.up[l] = reason == nil
		if host := nw.transports[l.from]; host != nil {
			host.delivers.Add(1)
			events = append(events, peerEvent{host, l.to, reason})
		}
	}
	for _, l := range slices.SortedFunc(maps.Keys(nw.up), link.compare) {
		if nw.up[l] && (nw.transports[l.to] == nil || nw.transports[l.from] == nil) {
			nw.stopTimer(l)
			tell(l, errLeft)
		}
	}
	hosts := slices.Sorted(maps.Keys(nw.transports)) // in order, so that a seed repeats
	for _, from := range hosts {
		for _, to := range hosts {
			l := link{from, to}
			broken := nw.faultsOf(l).Cut || nw.faultsOf(link{to, from}).Cut
			switch {
			case from == to:
			case broken && nw.up[l] && nw.cuts[l] == nil:
				cut := &cut{}
				cut.timer = time.AfterFunc(nw.timeout, func() { nw.silent(l, cut) })
				nw.cuts[l] = cut
			case !broken:
				nw.stopTimer(l)
				if !nw.up[l] {
					tell(l, nil)
				}
			}
		}
	}
	return events
}

func (nw *Network) stopTimer(l link) {
	if cut := nw.cuts[l]; cut != nil {
		cut.timer.Stop()
		delete(nw.cuts, l)
	}
}

// compare orders links.
func (l link) compare(m link) int {
	return cmp.Or(cmp.Compare(l.from, m.from), cmp.Compare(l.to, m.to))
}

// silent tells a host that a peer is down behind a cut link, unless the link was healed.
func (nw *Network) silent(l link, cut *cut) {
	nw.telling.Lock()
	defer nw.telling.Unlock()
	nw.mu.Lock()
	host := nw.transports[l.from]
	if nw.cuts[l] != cut || !nw.up[l] || host == nil {
		nw.mu.Unlock()
		return
	}
	delete(nw.cuts, l)
	nw.up[l] = false
	host.delivers.Add(1)
	nw.mu.Unlock()
	host.receiver.PeerDown(l.to, errCut)
	host.delivers.Done()
}
