package trace

import (
	"fmt"
	"slices"
	"strings"
)

// A Life is the story of one command, from the call of a client to the answer, or the story
// of one entry that no client has asked for.
type Life struct {
	Command string
	Client  string // the lane that asked; empty if none is known
	Entries []Place
	// Steps are the events of the life in their order. A step without a text is told by the
	// event's own words.
	Steps []Step
}

// A Place is the place of a command in a log.
type Place struct {
	Index, Term int
	Committed   bool // as far as messages and applied commands show
	First       int  // the first event that shows the entry
}

// Lives returns the lives of the operations of clients and of the entries of logs, as far as
// messages show them. An entry belongs to the call that its sender had to answer.
func Lives(r *Recording) []Life {
	b := &biographer{
		run: r, t: newTracker(r), open: make(map[int]*life), latest: make(map[asked]*life), calls: make(map[uint64]*call),
		entries: make(map[entryKey]*entryLife), acked: make(map[peering]int), announced: make(map[int]int), committed: make(map[int]int), groups: make([][]int, len(r.Lanes)),
	}
	for i := range r.Lanes {
		b.groups[i] = r.group(i)
	}
	b.t.changed = b.removed
	b.t.forgot = b.removed
	for i := range r.Events {
		b.note(i)
		b.t.next(i)
	}
	return b.finish()
}

// A life is a life in the making.
type life struct {
	client  string // the lane that asked, or empty
	text    string // the command
	steps   []lifeStep
	entries []*entryLife
	refused []int // the answers to attempts without an entry
	called  bool  // the recording has the operation's beginning
	ended   bool  // the client has an answer
}

// A lifeStep is a step of a life in the making.
type lifeStep struct {
	Step
	entry *entryLife // that the text calls "the entry", or nil
}

// An entryLife is the fate of one entry of a log.
type entryLife struct {
	of          *life
	index, term int
	first       int // the first event that shows the entry
	held        map[int]bool
	offered     map[int]Kind // Delivered or Lost, by the follower
	committed   bool
	told        bool // a leader has told others of the commit
}

// An entryKey identifies an entry. A broken program may have two commands at one place.
type entryKey struct {
	group, index, term int
	command            string
}

// A call is a client's request to a server.
type call struct {
	of     *life
	entry  *entryLife // nil before the entry, and without one
	server int
}

// An asked is a client's command.
type asked struct {
	lane int
	text string
}

// A peering is a leader of a term and a follower.
type peering struct{ leader, term, follower int }

// A biographer replays a recording and collects lives.
type biographer struct {
	run       *Recording
	t         *tracker
	all       []*life
	open      map[int]*life // operations in progress by the client's lane
	latest    map[asked]*life
	calls     map[uint64]*call
	entries   map[entryKey]*entryLife
	acked     map[peering]int // the last index that the leader knows to be stored
	announced map[int]int     // the commit index that a server has told others
	committed map[int]int     // the last index whose commit messages show at a server
	groups    [][]int         // the lanes of a server's group
}

func (b *biographer) add(l *life) *life {
	b.all = append(b.all, l)
	return l
}

// step adds an event with words, or with its own words.
func (l *life) step(event int, text string) {
	l.steps = append(l.steps, lifeStep{Step: Step{event, text}})
}

// step adds an event of the entry to the life.
func (f *entryLife) step(event int, format string, args ...any) {
	f.of.steps = append(f.of.steps, lifeStep{Step{event, fmt.Sprintf(format, args...)}, f})
}

// note adds event i to the lives that it belongs to. The tracker has not seen the event yet.
func (b *biographer) note(i int) {
	e := &b.run.Events[i]
	switch e.Kind {
	case Called:
		l := b.add(&life{client: b.run.lane(e.Lane), text: e.Text, called: true})
		l.step(i, "")
		b.open[e.Lane] = l
	case Returned:
		if l := b.open[e.Lane]; l != nil {
			l.step(i, "")
			l.ended = true
			delete(b.open, e.Lane)
		}
	case Proposed:
		b.entry(i, e.Lane, e.Index, Entry{Term: e.Term, Command: e.Text})
	case Applied:
		b.applies(i, e)
	case Sent, Delivered, Lost:
		if b.run.RPC(e.Name) == "" && len(e.Fields) == 0 {
			b.request(i, e)
		} else {
			b.replication(i, e)
		}
	}
}

// request follows a message between a client and a server.
func (b *biographer) request(i int, e *Event) {
	if !e.Reply && e.Kind == Sent && b.calls[e.Call] == nil {
		b.calls[e.Call] = &call{of: b.operation(e), server: e.Peer}
	}
	c := b.calls[e.Call]
	if c == nil {
		return
	}
	l := c.of
	switch {
	case !e.Reply && e.Kind == Sent && !slices.ContainsFunc(l.steps, func(s lifeStep) bool { return b.run.Events[s.Event].Kind == Sent }):
		l.step(i, "")
	case c.entry == nil && (e.Kind == Lost || e.Reply && e.Kind == Delivered):
		l.refused = append(l.refused, i)
	case c.entry != nil && e.Reply && e.Kind == Sent:
		b.answers(i, e, c)
	case c.entry != nil && e.Reply:
		l.step(i, "")
		l.ended = l.ended || e.Kind == Delivered && !l.called
	}
}

// answers notes the answer to a request with an entry. A correct server has applied the
// entry before.
func (b *biographer) answers(i int, e *Event, c *call) {
	if c.entry.committed {
		c.of.step(i, "")
		return
	}
	c.entry.step(i, "%s answers %s: %s. No message has shown a commit of the entry yet.", b.run.lane(e.Lane), b.run.lane(e.Peer), e.Text)
}

// operation returns the life of a request. Requests in an operation belong to the operation.
// Other equal requests of a client belong together until an answer to one with an entry.
func (b *biographer) operation(e *Event) *life {
	if l := b.open[e.Lane]; l != nil {
		return l
	}
	key := asked{e.Lane, e.Text}
	l := b.latest[key]
	if l == nil || l.ended {
		l = b.add(&life{client: b.run.lane(e.Lane), text: e.Text})
		b.latest[key] = l
	}
	return l
}

// key returns the identity of an entry at a server.
func (b *biographer) key(lane, index int, e Entry) entryKey {
	return entryKey{b.groups[lane][0], index, e.Term, e.Command}
}

// entry returns the fate of an entry that a server shows. The first server has the entry by
// itself.
func (b *biographer) entry(i, lane, index int, e Entry) *entryLife {
	key := b.key(lane, index, e)
	f := b.entries[key]
	if f != nil {
		return f
	}
	f = &entryLife{index: index, term: e.Term, first: i, held: map[int]bool{lane: true}, offered: map[int]Kind{}}
	b.entries[key] = f
	if c := b.calls[e.Call]; c != nil && c.server == lane {
		c.entry, f.of = f, c.of
	} else {
		f.of = b.add(&life{text: e.Command})
	}
	f.of.entries = append(f.of.entries, f)
	f.step(i, "%s has the entry in its log.", b.run.lane(lane))
	return f
}

// replication follows a message of Raft.
func (b *biographer) replication(i int, e *Event) {
	prev, is := e.field(FieldPrevLogIndex)
	switch {
	case is && !e.Reply:
		for k, entry := range e.Entries {
			b.carried(i, e, b.entryOf(i, e, prev+1+k, entry))
		}
		if commit, ok := e.field(FieldLeaderCommit); ok && e.Kind == Sent {
			b.announces(i, e, commit)
		}
	case e.Reply && e.Kind == Delivered && e.is(FieldSuccess):
		if at, ok := b.t.request[e.Call]; ok {
			b.accepts(i, e, &b.run.Events[at])
		}
	}
}

// entryOf returns the fate of an entry in an AppendEntries.
func (b *biographer) entryOf(i int, e *Event, index int, entry Entry) *entryLife {
	lane := e.Lane
	if e.Kind != Sent {
		lane = e.Peer
	}
	return b.entry(i, lane, index, entry)
}

// carried notes the first message with an entry that arrives at a follower, and a lost one
// before.
func (b *biographer) carried(i int, e *Event, f *entryLife) {
	if e.Kind == Sent || f.held[e.Lane] || f.offered[e.Lane] == Delivered || f.offered[e.Lane] == e.Kind {
		return
	}
	f.offered[e.Lane] = e.Kind
	if e.Kind == Lost {
		f.step(i, "The entry does not arrive at %s: %s.", b.run.lane(e.Lane), cause(e))
		return
	}
	f.step(i, "%s receives the entry from %s.", b.run.lane(e.Lane), b.run.lane(e.Peer))
}

// accepts notes that a leader learns which entries a follower stores.
func (b *biographer) accepts(i int, e *Event, request *Event) {
	prev, ok := request.field(FieldPrevLogIndex)
	if !ok {
		return
	}
	term := request.Fields[FieldTerm]
	key := peering{e.Lane, term, e.Peer}
	last := prev + request.Fields[FieldEntries]
	for index := max(b.acked[key], 0) + 1; index <= last; index++ {
		f := b.at(e.Lane, index)
		if f == nil || f.held[e.Peer] {
			continue
		}
		f.held[e.Lane], f.held[e.Peer] = true, true
		text := fmt.Sprintf("%s learns that %s stores the entry: %d of %d servers.", b.run.lane(e.Lane), b.run.lane(e.Peer), len(f.held), len(b.groups[e.Lane]))
		commits := false
		if 2*len(f.held) > len(b.groups[e.Lane]) && !f.committed {
			if commits = f.term == term; commits {
				text += " That is a majority, and the entry is committed."
			} else {
				text += fmt.Sprintf(" The entry is of an older term, and waits for one of term %d (section 5.4.2).", term)
			}
		}
		f.step(i, "%s", text)
		if commits {
			b.commits(i, e.Lane, index)
		}
	}
	b.acked[key] = max(b.acked[key], last)
}

// commits notes a commit at a leader. The entries before are committed with the entry.
func (b *biographer) commits(i, leader, last int) {
	for index := b.committed[leader] + 1; index <= last; index++ {
		f := b.at(leader, index)
		if f == nil || f.committed {
			continue
		}
		f.committed = true
		if index < last {
			f.step(i, "The commit at index %d commits the entry, too.", last)
		}
	}
	b.committed[leader] = max(b.committed[leader], last)
}

// at returns the fate of the entry that a server holds at an index.
func (b *biographer) at(lane, index int) *entryLife {
	entry, known := b.t.servers[lane].holds(index)
	if !known {
		return nil
	}
	return b.entries[b.key(lane, index, entry)]
}

// announces notes that a leader tells others about a commit.
func (b *biographer) announces(i int, e *Event, commit int) {
	for index := b.announced[e.Lane] + 1; index <= commit; index++ {
		f := b.at(e.Lane, index)
		if f == nil || f.told {
			continue
		}
		f.told = true
		text := fmt.Sprintf("%s tells %s that the entry is committed.", b.run.lane(e.Lane), b.run.lane(e.Peer))
		if !f.committed {
			f.committed = true
			text += fmt.Sprintf(" Messages show the entry at %d of %d servers.", len(f.held), len(b.groups[e.Lane]))
		}
		f.step(i, "%s", text)
	}
	b.announced[e.Lane] = max(b.announced[e.Lane], commit)
}

// applies notes an applied command. If servers tell of this, nothing else need tell of the commit.
func (b *biographer) applies(i int, e *Event) {
	f := b.at(e.Lane, e.Index)
	if f == nil {
		return
	}
	f.told, f.committed = true, true
	f.step(i, "%s applies the command.", b.run.lane(e.Lane))
}

// removed notes that a server's log loses an entry.
func (b *biographer) removed(lane, index int, before Entry) {
	f := b.entries[b.key(lane, index, before)]
	if f == nil {
		return
	}
	delete(f.held, lane)
	f.step(b.t.event, "%s no longer has the entry.", b.run.lane(lane))
}

// finish completes the lives, and leaves out requests that led to nothing.
func (b *biographer) finish() []Life {
	var lives []Life
	for _, l := range b.all {
		if !l.called && len(l.entries) == 0 {
			continue
		}
		if n := len(l.refused); n > 0 {
			last := b.run.Events[l.refused[n-1]]
			text := "An attempt leads to no entry. "
			if n > 1 {
				text = fmt.Sprintf("%d attempts lead to no entry. This is the last one. ", n)
			}
			if last.Kind != Lost {
				text += fmt.Sprintf("%s answers: %s.", b.run.lane(last.Peer), last.Text)
			}
			l.step(l.refused[n-1], text)
		}
		slices.SortStableFunc(l.steps, func(x, y lifeStep) int { return x.Event - y.Event })
		told := Life{Command: l.text, Client: l.client}
		for _, s := range l.steps {
			if s.entry != nil && len(l.entries) > 1 {
				s.Text = strings.Replace(s.Text, "he entry", fmt.Sprintf("he entry at index %d of term %d", s.entry.index, s.entry.term), 1)
			}
			told.Steps = append(told.Steps, s.Step)
		}
		for _, f := range l.entries {
			told.Entries = append(told.Entries, Place{f.index, f.term, f.committed, f.first})
		}
		lives = append(lives, told)
	}
	return lives
}
