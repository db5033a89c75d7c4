package raft_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"raftlab/internal/labtest"
	"raftlab/labrpc"
)

// The tests of this file deliver a message in the gap between two things that an
// implementation with a lock does under it, one after the other: what it knew
// before may not hold any more when it has the lock again. They judge by what
// labtest checks at all times: who speaks as leader of a term, and who votes.

// TestBroadcastInTheGap2A lets a leader learn of its successor at the moment when
// the first request of a broadcast leaves. The other requests of the broadcast must
// not carry the term of the successor.
func TestBroadcastInTheGap2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 20, 10, func(round int) bool { return brokenBroadcast(t, round) })
	})
}

func brokenBroadcast(t *testing.T, round int) bool {
	c := labtest.New(t, 5, labtest.Round(round))
	defer c.Shutdown()
	old := c.Leader()
	led, _ := c.State(old)
	c.Sleep(time.Duration(c.Rand.IntN(100)) * time.Millisecond)
	news, told := labrpc.NewHold(), false
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case m.To == old && !m.Reply && m.Kind == labtest.Append && m.Term > led:
			return labrpc.HeldBy(news)
		case m.From == old && !m.Reply && m.Kind == labtest.Append && news.Waiting() > 0:
			told = true
			news.Release()
		case m.Involves(old) && !told:
			return labrpc.Never()
		}
		return labrpc.Usual()
	})
	came := c.Eventually(3*time.Second, func() bool { return between(c, func() bool { return told }) })
	c.Direct(nil)
	c.Sleep(200 * time.Millisecond)
	c.Leader()
	return came
}

// rumours are requests for votes that are kept back, so that their receivers
// hear of a newer term at the worst moment.
type rumours struct {
	rand *rand.Rand
	kept map[int][]rumour // by receiver
	told int
}

type rumour struct {
	term int
	hold *labrpc.Hold
}

func (r *rumours) keep(m labtest.Message) labrpc.Decision {
	hold := labrpc.NewHold()
	r.kept[m.To] = append(r.kept[m.To], rumour{m.Term, hold})
	return labrpc.HeldBy(hold)
}

// tell delivers, after a while, what is newer than the term that a server is in.
func (r *rumours) tell(to, term int, after time.Duration) {
	for _, rumour := range r.kept[to] {
		if rumour.term <= term {
			rumour.hold.Drop()
			continue
		}
		r.told++
		if after == 0 {
			rumour.hold.Release()
		} else {
			time.AfterFunc(after, rumour.hold.Release)
		}
	}
	delete(r.kept, to)
}

// TestAskingInTheGap2A lets a candidate learn of a newer term at the moment when its
// first request for a vote leaves. The other requests must not ask for votes in the
// newer term, where the server has voted for another server.
func TestAskingInTheGap2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 12, 6, func(round int) bool {
			return hearsay(t, round, func(r *rumours, m labtest.Message) {
				if !m.Reply {
					r.tell(m.From, m.Term, 0)
				}
			})
		})
	})
}

// TestElectionLostInTheGap2A lets a candidate learn of a newer term directly after
// its votes have arrived. The election is over and not won.
func TestElectionLostInTheGap2A(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		play(t, 12, 6, func(round int) bool {
			return hearsay(t, round, func(r *rumours, m labtest.Message) {
				if m.Reply {
					r.tell(m.To, m.Term, labrpc.DefaultLatency+time.Duration(r.rand.IntN(5))*2*time.Millisecond)
				}
			})
		})
	})
}

// hearsay cuts a server off that stands for election again and again then, and
// makes its requests for votes rumours among the others, when they elect a
// new leader; note sees the messages of that. It says whether rumours have been
// told. Servers that begin no term without having been asked for pre-votes
// have none to tell.
func hearsay(t *testing.T, round int, note func(*rumours, labtest.Message)) bool {
	c := labtest.New(t, 5, labtest.Round(round))
	defer c.Shutdown()
	leader := c.Leader()
	ahead, open := c.Others(leader)[0], false
	r := &rumours{rand: rand.New(rand.NewPCG(c.Rand.Uint64(), 0)), kept: make(map[int][]rumour)}
	c.Direct(func(m labtest.Message) labrpc.Decision {
		switch {
		case open && m.From == ahead && m.Kind == labtest.Vote && !m.Reply && m.To != leader:
			return r.keep(m)
		case open && m.To == ahead && m.Kind == labtest.Vote && m.Reply: // the vote for a rumour
		case m.Involves(ahead) || open && (m.Involves(leader) || m.Kind == labtest.Append):
			return labrpc.Never()
		case open && m.Kind == labtest.Vote:
			note(r, m)
		}
		return labrpc.Usual()
	})
	c.Sleep(3 * time.Second)
	c.Scripted(func() { open = true })
	c.Sleep(2 * time.Second)
	return between(c, func() bool { return r.told > 0 })
}
