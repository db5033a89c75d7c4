package trace

import "time"

// A Rule is a rule that a run can break.
type Rule string

// The rules. Each has a title and a place in the paper.
const (
	ElectionSafety     Rule = "election safety"
	OneVote            Rule = "one vote"
	AskFirst           Rule = "ask first"
	StateMachineSafety Rule = "state machine safety"
	ApplyInOrder       Rule = "apply in order"
	SnapshotState      Rule = "snapshot state"
	TermsGrow          Rule = "terms grow"
	QuorumToLead       Rule = "quorum to lead"
	LeaderInTime       Rule = "leader in time"
	AgreementInTime    Rule = "agreement in time"
	AnswerInTime       Rule = "answer in time"
	Linearizable       Rule = "linearizable"
	Deadlock           Rule = "deadlock"
	Other              Rule = "other"
)

// A Breach is what a check found, as data.
type Breach struct {
	Rule  Rule          `json:"rule"`
	Time  time.Duration `json:"t"`
	Text  string        `json:"text"` // the message of the check
	Lanes []int         `json:"lanes,omitempty"`
	Term  int           `json:"term,omitempty"`
	Index int           `json:"index,omitempty"`
	// Before and After are two commands at Index that should be one, or the command
	// (After) on which there was no agreement.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	// Operations is a small set of operations that has no legal order.
	Operations []Operation `json:"operations,omitempty"`
	// Earlier holds operations in a legal order, after which no order gives the answer of the
	// only one of Operations.
	Earlier []Operation `json:"earlier,omitempty"`
	// Waits describes the blocked goroutines of a deadlock.
	Waits []string `json:"waits,omitempty"`
}

// An Operation is an operation of a client.
type Operation struct {
	Client string        `json:"client"`
	Text   string        `json:"text"`
	Call   time.Duration `json:"call"`
	Return time.Duration `json:"return"` // negative: never
}

// A ruleText is the title of a rule, its words and its place in the paper.
type ruleText struct{ title, words, place string }

var ruleTexts = map[Rule]ruleText{
	ElectionSafety:     {"Two leaders in one term", "At most one leader can be elected in a given term.", "Election Safety, Figure 3 and section 5.2"},
	OneVote:            {"Two votes of one server in a term", "Each server votes for at most one candidate in a given term, first come, first served, and remembers the vote over a crash.", "Section 5.2; votedFor is persistent state, Figure 2"},
	AskFirst:           {"A leader that nobody elected", "A candidate becomes leader with the votes of a majority in its term.", "Section 5.2"},
	StateMachineSafety: {"Two servers applied different commands at one index", "If a server has applied a log entry at a given index, no other server will ever apply a different entry for the same index.", "State Machine Safety, Figure 3 and section 5.4.3"},
	ApplyInOrder:       {"A server did not apply commands in order", "A server applies the entries in the order of the log, each once: increment lastApplied, apply log[lastApplied].", "Figure 2, Rules for Servers"},
	SnapshotState:      {"A wrong snapshot", "A snapshot replaces the log up to its last included index, and holds the state after these entries.", "Section 7, Figure 13"},
	TermsGrow:          {"A server's term went back", "A server's current term increases monotonically, also over a crash.", "Section 5.1; currentTerm is persistent state, Figure 2"},
	QuorumToLead:       {"A leader without a majority", "A candidate needs the votes of a majority of all servers, also of those that it cannot reach.", "Section 5.2"},
	LeaderInTime:       {"No leader in time", "A majority that can communicate elects a leader, usually within a few election timeouts. Timeouts are random, so that split votes are rare.", "Section 5.2, section 5.6"},
	AgreementInTime:    {"No agreement in time", "A leader replicates an entry until all followers store it, and commits it when a majority does.", "Section 5.3"},
	AnswerInTime:       {"No answer in time", "A client retries until a server answers. A majority that can communicate executes the operation, whatever failed before.", "Section 8"},
	Linearizable:       {"The clients saw something impossible", "Each operation appears to take effect at one moment between its call and its return.", "Linearizability, section 8"},
	Deadlock:           {"Goroutines wait for each other", "A server answers RPCs and applies commands at any time. Hold no lock while waiting.", "Labs' guide on locking"},
	Other:              {"A check of the test failed", "", ""},
}

// Title returns the breach of a rule in a few words.
func (r Rule) Title() string { return ruleTexts[r.known()].title }

// Words returns the rule in words.
func (r Rule) Words() string { return ruleTexts[r.known()].words }

// Place returns the place of the rule in the paper.
func (r Rule) Place() string { return ruleTexts[r.known()].place }

func (r Rule) known() Rule {
	if _, ok := ruleTexts[r]; ok {
		return r
	}
	return Other
}
