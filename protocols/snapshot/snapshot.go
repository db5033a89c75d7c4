// Package snapshot takes consistent snapshots of a running system (Chandy and Lamport,
// Distributed Snapshots, ACM TOCS 1985).
//
// The nodes of the package are banks that send each other money. A transfer
// leaves one bank before it reaches the other, so the sum of the balances changes all the time, while
// the money of the whole system stays constant. An auditor who asks the banks one
// after the other counts some money twice and misses other money. A snapshot must record
// each bank and each channel, so that the records form a state through which the system could have passed.
//
// The algorithm needs FIFO channels that lose nothing. Transfers go on meanwhile.
//
//   - The first bank records its balance and sends a marker to every other bank.
//   - A bank that receives its first marker records its balance, and sends a marker to
//     every other bank before it sends anything else.
//   - From its record until the marker of a channel arrives, a bank records the money that
//     arrives on this channel. That money was in the channel when the snapshot was taken.
//
// A marker separates the money of a channel sent before the sender's record from the money sent
// after. FIFO makes the separation hold at the receiver, too. Without FIFO a transfer
// overtakes a marker, and the test sees money that nobody has.
package snapshot

import (
	"fmt"
	"sync"

	"raftlab/labrpc"
)

// A Transfer moves money from one bank to another.
type Transfer struct{ From, Amount int }

// A Marker belongs to one snapshot.
type Marker struct{ From, Snapshot int }

// A Part is the contribution of one bank to a snapshot.
type Part struct {
	Balance  int         // when the bank recorded itself
	Channels map[int]int // money on its way to the bank, by sender
}

// Total returns the money of a part.
func (p Part) Total() int {
	total := p.Balance
	for _, amount := range p.Channels {
		total += amount
	}
	return total
}

// A recording is a part that may still grow.
type recording struct {
	part Part
	open map[int]bool // channels whose marker has not arrived
}

// A Bank is a node. Its methods may be called concurrently. A bank keeps its parts of all snapshots.
type Bank struct {
	peers []*labrpc.ClientEnd
	me    int

	mu        sync.Mutex
	balance   int
	snapshots map[int]*recording
}

// NewBank returns bank number me with some money. The links between banks must be FIFO.
func NewBank(peers []*labrpc.ClientEnd, me, balance int) *Bank {
	return &Bank{peers: peers, me: me, balance: balance, snapshots: make(map[int]*recording)}
}

// Send sends money to another bank. Send returns an error if the bank has less, or if there is no
// such bank.
func (b *Bank) Send(to, amount int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if to < 0 || to >= len(b.peers) || to == b.me {
		return fmt.Errorf("snapshot: bank %d cannot send to bank %d of %d", b.me, to, len(b.peers))
	}
	if amount < 0 || amount > b.balance {
		return fmt.Errorf("snapshot: cannot send %d of %d", amount, b.balance)
	}
	b.balance -= amount
	b.peers[to].Send("Bank.Receive", Transfer{b.me, amount}) // does not wait
	return nil
}

// Receive takes a transfer. Every snapshot with an open channel from the sender records the transfer.
func (b *Bank) Receive(t Transfer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.balance += t.Amount
	for _, r := range b.snapshots {
		if r.open[t.From] {
			r.part.Channels[t.From] += t.Amount
		}
	}
}

// Start begins a snapshot with a number of its own. Any bank may start one.
func (b *Bank) Start(snapshot int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.record(snapshot)
}

// Mark takes a marker.
func (b *Bank) Mark(m Marker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.record(m.Snapshot).open, m.From)
}

// record records the bank and sends the markers, the first time. The lock keeps other
// transfers from leaving between the record and the markers. The caller holds b.mu.
func (b *Bank) record(snapshot int) *recording {
	if r := b.snapshots[snapshot]; r != nil {
		return r
	}
	r := &recording{Part{b.balance, make(map[int]int)}, make(map[int]bool)}
	b.snapshots[snapshot] = r
	for i, peer := range b.peers {
		if i != b.me {
			r.open[i] = true
			peer.Send("Bank.Mark", Marker{b.me, snapshot})
		}
	}
	return r
}

// Part returns the bank's part of a snapshot, and whether the part is complete. A complete
// part does not change.
func (b *Bank) Part(snapshot int) (Part, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.snapshots[snapshot]
	if r == nil || len(r.open) > 0 {
		return Part{}, false
	}
	return r.part, true
}

// Balance returns the present balance.
func (b *Bank) Balance() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.balance
}
