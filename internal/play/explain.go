package play

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"raftlab/raft/core"
	"raftlab/raft/core/script"
)

// Note is one effect of a command, with the rule at work.
type Note struct {
	Trace string   `json:"trace"`           // the line of the script
	Says  string   `json:"says,omitempty"`  // the rule at work, in a sentence or two
	Paper string   `json:"paper,omitempty"` // place in the paper or the thesis
	Code  []string `json:"code,omitempty"`  // functions of raft/core
}

// Violation is a fallen property.
type Violation struct {
	Name  string `json:"name"`
	Paper string `json:"paper"`
	Text  string `json:"text"`
}

// properties names the checker's findings, by the beginning or a part of their text.
var properties = []struct{ part, name, paper string }{
	{"Election Safety", "Election Safety", "Figure 3, §5.2"},
	{"Log Matching", "Log Matching", "Figure 3, §5.3"},
	{"Leader Completeness", "Leader Completeness", "Figure 3, §5.4"},
	{"State Machine Safety", "State Machine Safety", "Figure 3, §5.4.3"},
	{"by counting (§5.4.2)", "Commit rule", "§5.4.2, Figure 8"},
	{"becomes", "Leader Append-Only", "Figure 3, §5.3"},
	{"its log shrinks", "Leader Append-Only", "Figure 3, §5.3"},
	{"second leader", "Election Safety", "Figure 3, §5.2"},
	{"both lead term", "Election Safety", "Figure 3, §5.2"},
	{"differs from the committed one", "State Machine Safety", "Figure 3, §5.4.3"},
	{"stale read", "Linearizable reads", "§8, thesis 6.4"},
	{"which no server has committed", "State Machine Safety", "Figure 3, §5.4.3"},
	{"beside a leader that it hears", "No votes beside a leader", "§6, thesis 4.2.3"},
	{"votes for", "One vote in a term", "§5.2"},
	{"with its votes", "Majority", "§5.2"},
	{"votes of the voters", "Majority of the voters", "§5.2, §6"},
	{"on 1 disks", "Majority of the disks", "§5.3, §5.4"},
	{"disks of", "Majority of the disks", "§5.3, §5.4"},
	{"speaks of term", "State on disk before a promise", "Figure 2"},
	{"acknowledges", "State on disk before a promise", "Figure 2"},
	{"saves term", "A saved vote is kept", "§5.2, Figure 2"},
	{"restarts in term", "State on disk before a promise", "Figure 2"},
	{"which is not on its own disk", "State Machine Safety", "Figure 3, §5.4.3"},
	{"without end", "Progress", "§5.6"},
	{"votedFor changes", "One vote in a term", "§5.2"},
	{"commitIndex falls", "commitIndex never falls", "Figure 2"},
	{"currentTerm falls", "currentTerm never falls", "Figure 2"},
	{"changes the membership before", "A commit in the term before a change", "thesis 4.1"},
	{" panics: ", "A state that no server reaches", "raft/core"},
	{"uncommitted configurations", "One change at a time", "§6, thesis 4.1"},
}

// violation names a finding of the checker.
func violation(text string) Violation {
	for _, p := range properties {
		if strings.Contains(text, p.part) {
			return Violation{p.name, p.paper, text}
		}
	}
	return Violation{"An invariant of the checker", "raft/core/coretest", text}
}

// A rule explains the effects of one pattern. The pattern's groups fill the
// sentence in.
type rule struct {
	pattern *regexp.Regexp
	says    string
	paper   string
	code    []string
}

func newRule(pattern, says, paper string, code ...string) rule {
	return rule{regexp.MustCompile("^" + pattern + "$"), says, paper, code}
}

// rules are in order, the first match counts.
var rules = []rule{
	newRule(`(\d+) times out and asks for pre-votes in term (\d+)`,
		"Server $1 has heard no leader for its election timeout. Before it begins term $2, it asks whether a majority would vote for it. Its own term does not change.",
		"thesis 9.6", "preCampaign", "startPoll"),
	newRule(`(\d+) times out and asks for votes in term (\d+)`,
		"Server $1 has heard no leader for its election timeout. It begins term $2, votes for itself and asks all others for their votes.",
		"§5.2", "campaign", "requestVotes"),
	newRule(`(\d+) is pre-candidate term=(\d+)`,
		"Server $1 asks for pre-votes. Its term stays $2.", "thesis 9.6", "preCampaign"),
	newRule(`(\d+) is candidate term=(\d+)`,
		"Server $1 begins term $2 and votes for itself. The vote is on its disk before the requests leave.", "§5.2", "campaign", "requestVotes"),
	newRule(`(\d+) is leader term=(\d+)`,
		"Server $1 has the votes of a majority and leads term $2. Two majorities share a server, and a server votes once in a term, so term $2 has no other leader. The leader tells the others at once.",
		"§5.2, Election Safety", "pollWon", "becomeLeader", "broadcastHeartbeat"),
	newRule(`(\d+) is follower term=(\d+)`,
		"Server $1 follows in term $2. A request or reply of a newer term, or word from a leader of its own term, makes a follower of any server.",
		"§5.1, Figure 2", "observeTerm", "becomeFollower"),
	newRule(`(\d+) takes "(.*)" as (\d+)/(\d+)`,
		"Leader $1 appends the command to its own log, at index $3 with its term $4. The client gets an answer only after the commit.",
		"§5.3", "Propose", "appendOwn"),
	newRule(`(\d+) gives up (\d+)/(\d+) to (\d+)/(\d+)`,
		"The leader's entry at index $2 has another term. Server $1 deletes its own entries from index $2 on. They were never committed.",
		"§5.3, Figure 7", "merge"),
	newRule(`(\d+) applies .*`,
		"Server $1 hands what is committed to its state machine, in the order of the log.", "Figure 2, all servers", "NextToApply"),
	newRule(`(\d+) crashes`,
		"Server $1 loses what is in memory. Its disk keeps currentTerm, votedFor and the log.", "Figure 2, persistent state"),
	newRule(`(\d+) restarts .*`,
		"Server $1 starts as a follower, with currentTerm, votedFor and the log of its disk. commitIndex is lost. The leader tells it anew.", "Figure 2", "New"),
	newRule(`(\d+) compacts to (\d+)`,
		"The service of server $1 has saved its state. The snapshot replaces the log up to index $2.", "§7", "Compact"),
	newRule(`(\d+) restores the snapshot at (\d+)/(\d+)`,
		"Server $1 replaces its state by the leader's snapshot, which ends at index $2.", "§7, Figure 13", "restoreFromLeader"),
	newRule(`(\d+) is in configuration (\d+): (.*outgoing.*)`,
		"Server $1 uses the joint configuration of index $2 from now on, before its commit. Elections and commits need a majority of the new and a majority of the old voters.",
		"§6, thesis 4.3", "followConfigurations", "configurationChanged"),
	newRule(`(\d+) is in configuration (\d+): (.*)`,
		"Server $1 uses the configuration of index $2 from now on, before its commit.", "§6, thesis 4.1", "followConfigurations", "configurationChanged"),
	newRule(`(\d+) learns that it is removed`,
		"Server $1 knows a committed configuration without it. It calls no more elections.", "§6, thesis 4.2.3", "isRemoved", "learnRemoval"),
	newRule(`(\d+) begins read (\d+)`,
		"The read must see every write that was acknowledged before now. The leader notes its commitIndex and asks a majority whether it still leads.",
		"§8, thesis 6.4", "ReadIndex", "startReads"),
	newRule(`(\d+) may serve read (\d+) at (\d+)`,
		"A majority has answered the leader since read $2 began, so no newer leader had committed anything. Server $1 answers when it has applied index $3.",
		"§8, thesis 6.4", "confirmRounds", "answerReads"),
	newRule(`(\d+) fails read (\d+)`,
		"Server $1 lost its leader before read $2 was confirmed. The client tries again.", "thesis 6.4", "failReads"),
	newRule(`(\d+) transfers leadership to (\d+)`,
		"Leader $1 takes no more commands, and brings the log of server $2 up to date.", "thesis 3.10", "TransferLeadership"),
	newRule(`(\d+) refuses .*: (.*)`, "Server $1 refuses the request: $2. Nothing changed.", "", ""),
	newRule(`(\d+) is quiescent: true`, "Server $1 counts no ticks until something happens.", "", "tryQuiesce"),
	newRule(`(\d+) is quiescent: false`, "Server $1 counts ticks again.", "", "Wake"),
	newRule(`lost: .*`, "The network loses the message. Raft needs no message in particular: servers ask again.", "§5.5", "Unreachable"),
	newRule(`delayed: .*`, "The message waits in the network until it is released.", ""),
	newRule(`goes on: .*`, "The delayed message is on its way again, behind all others.", ""),
	newRule(`repeated: .*`, "The network carries the message twice. Raft's RPCs are idempotent.", "§5.5"),
	newRule(`goes behind the others: .*`, "The network carries the message behind all others. Messages may overtake each other.", "§5.5"),
}

// commandRules explain commands without an effect of their own.
var commandRules = []rule{
	newRule(`cluster (\d+).*`, "$1 servers start as followers. Each waits for word from a leader, for a random time.", "§5.2", "New", "resetElectionTimer"),
	newRule(`log (\d+) .*`, "Server $1 will find this log on its disk when the cluster starts.", "Figure 2, persistent state"),
	newRule(`partition .*`, "The network is cut between the groups. Messages across the cut will be lost.", "§5.5"),
	newRule(`cut (\d+)->(\d+)`, "Messages from server $1 to server $2 will be lost.", "§5.5"),
	newRule(`heal`, "All links work again.", "§5.5"),
	newRule(`tick all.*`, "Time passes on all servers. A leader sends heartbeats when its heartbeat timer runs out.", "§5.2", "Tick", "tickLeader"),
	newRule(`propose .*|read .*|deliver.*|settle`, "Nothing more happens.", ""),
	newRule(`stall (\d+).*`, "The disk of server $1 is busy. Nothing is saved, so no promise leaves.", "Figure 2", "Outgoing"),
	newRule(`resume (\d+).*`, "The disk of server $1 works again.", ""),
	newRule(`stepdown (\d+).*`, "Server $1 gives up its leadership, as a leader does that has lost contact to a majority.", "thesis 6.2", "StepDown"),
	newRule(`wake (\d+).*`, "Server $1 counts time again.", "", "Wake"),
	newRule(`expect (.*)`, "The condition holds: $1.", ""),
}

// notes explains the effects of a command.
func (r *runner) notes(line string, effects []script.Effect) []Note {
	notes := make([]Note, 0, len(effects)+1)
	for i, e := range effects {
		if strings.HasPrefix(e.Text, script.Violation) {
			continue // shown apart
		}
		notes = append(notes, r.note(e, effects[i+1:]))
		r.follow(e)
	}
	r.look()
	if len(notes) > 0 || line == "" {
		return notes
	}
	if m := ticks.FindStringSubmatch(line); m != nil && r.world.Cluster() != nil {
		return append(notes, r.passed(line, parseID(m[1])))
	}
	if n, ok := explain(commandRules, line); ok {
		notes = append(notes, n)
	}
	return notes
}

var ticks = regexp.MustCompile(`^tick (\d+)`)

// passed explains a tick without an effect.
func (r *runner) passed(line string, id core.NodeID) Note {
	c := r.world.Cluster()
	n := Note{Trace: line, Paper: "§5.2", Code: []string{"Tick"}}
	if !c.Up(id) {
		n.Says = fmt.Sprintf("Server %d is down.", id)
		return n
	}
	switch one := c.Core(id); one.Status().State {
	case core.Leader:
		n.Says = fmt.Sprintf("Time passes on leader %d. It sends heartbeats at a fixed interval, so that no follower's election timer runs out.", id)
		n.Code = append(n.Code, "tickLeader", "broadcastHeartbeat")
	case core.Follower:
		n.Says = fmt.Sprintf("Time passes on server %d. Unless it hears a leader, it calls an election in %d ticks.", id, one.QuietTicks()+1)
		n.Code = append(n.Code, "resetElectionTimer")
	default:
		n.Says = fmt.Sprintf("Time passes on server %d. It still waits for votes, and asks again those servers that have not answered.", id)
		n.Code = append(n.Code, "requestVotes")
	}
	return n
}

// follow notes whether an effect begins or ends a leadership.
func (r *runner) follow(e script.Effect) {
	if e.Message != nil {
		r.leads[e.Message.To] = e.After.State == core.Leader
		return
	}
	if m := roles.FindStringSubmatch(e.Text); m != nil {
		r.leads[parseID(m[1])] = m[2] == core.Leader.String()
	}
}

// look notes the leaders behind a command.
func (r *runner) look() {
	c := r.world.Cluster()
	if c == nil {
		return
	}
	for _, id := range c.IDs() {
		r.leads[id] = c.Up(id) && c.Core(id).Status().State == core.Leader
	}
}

var roles = regexp.MustCompile(`^(\d+) is (leader|follower|candidate|pre-candidate) term=`)

func parseID(digits string) core.NodeID {
	n, _ := strconv.ParseUint(digits, 10, 64)
	return core.NodeID(n)
}

// note explains one effect. later are the effects behind it.
func (r *runner) note(e script.Effect, later []script.Effect) Note {
	if e.Message != nil {
		n := r.delivered(e, later)
		n.Trace = e.Text
		return n
	}
	if m := commits.FindStringSubmatch(e.Text); m != nil {
		return r.committed(e.Text, m[1], m[2])
	}
	n, _ := explain(rules, e.Text)
	return n
}

// explain returns the note of the first matching rule.
func explain(rules []rule, text string) (Note, bool) {
	for _, rule := range rules {
		m := rule.pattern.FindStringSubmatchIndex(text)
		if m == nil {
			continue
		}
		says := rule.pattern.ExpandString(nil, rule.says, text, m)
		code := rule.code
		if len(code) == 1 && code[0] == "" {
			code = nil
		}
		return Note{text, string(says), rule.paper, code}, true
	}
	return Note{Trace: text}, false
}

var commits = regexp.MustCompile(`^(\d+) commits up to (\d+)$`)

// committed explains a rising commitIndex: a leader counts, a follower is told.
func (r *runner) committed(text, id, index string) Note {
	if r.leads[parseID(id)] {
		return Note{text, fmt.Sprintf("Index %s is on the disks of a majority, and the entry there has the leader's own term. So leader %s commits the log up to there, older entries included.", index, id),
			"§5.3, §5.4.2", []string{"maybeCommit", "commitTo"}}
	}
	return Note{text, fmt.Sprintf("The leader has committed index %s. Server %s has the leader's entries up to there and raises its commitIndex.", index, id),
		"Figure 2, AppendEntries step 5", []string{"appendFromLeader", "commitTo"}}
}
