package trace

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Kind is a kind of events.
type Kind uint8

// The kinds of events, and the fields of an [Event] that each one sets beside Time and Lane.
const (
	// Sent, Delivered and Lost concern a message: Peer, Message, Reply, Name, and Text for
	// the cause of a loss. Sent is on the lane of the sender, Delivered and Lost on the lane
	// of the receiver.
	Sent Kind = iota + 1
	Delivered
	Lost
	// Crashed and Restarted concern a server. Restarted has the Index of the snapshot that the
	// server reads.
	Crashed
	Restarted
	// Network is a change of the network, described by Text. Lane is NoLane.
	Network
	// Role is a server's answer about its Term, with Leads.
	Role
	// Proposed is a command accepted by a server at Index in Term. Text is the command.
	Proposed
	// Applied is a command applied by a server at Index. Text is the command.
	Applied
	// Snapshot is a snapshot of a server up to Index, taken or installed, as Text says.
	Snapshot
	// Saved is a server's change of its stable storage, described by Text.
	Saved
	// Called and Returned are the beginning and the end of an operation of a client.
	Called
	Returned
	// Logged is a line of the program's output.
	Logged
	// Noted is a remark of the test.
	Noted
)

// NoLane is the lane of events without a server or client.
const NoLane = -1

var kindNames = [...]string{
	Sent: "sent", Delivered: "delivered", Lost: "lost", Crashed: "crashed", Restarted: "restarted", Network: "network",
	Role: "role", Proposed: "proposed", Applied: "applied", Snapshot: "snapshot", Saved: "saved", Called: "called",
	Returned: "returned", Logged: "logged", Noted: "noted",
}

// String returns the kind in a word.
func (k Kind) String() string {
	if int(k) < len(kindNames) && k > 0 {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// MarshalJSON writes the kind as a word.
func (k Kind) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }

// UnmarshalJSON reads the word of a kind.
func (k *Kind) UnmarshalJSON(data []byte) error {
	var name string
	if err := json.Unmarshal(data, &name); err != nil {
		return err
	}
	for i, known := range kindNames {
		if known == name && i > 0 {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("%w: kind of event %q is unknown", ErrFormat, name)
}

// An Event is one thing that happened.
type Event struct {
	Time time.Duration `json:"t"` // since the start of the recording
	Kind Kind          `json:"k"`
	Lane int           `json:"l"` // where it happened; NoLane if nowhere in particular
	// Peer is the lane at the other end of a message.
	Peer int `json:"p,omitempty"`
	// Message is shared by the events of one message alone. A request and its
	// reply are two messages, and so are the copies of a duplicated message.
	Message uint64 `json:"m,omitempty"`
	// Call is shared by a request, its copies and its reply.
	Call  uint64 `json:"c,omitempty"`
	Reply bool   `json:"r,omitempty"`
	// Copy marks the second delivery of a request.
	Copy  bool   `json:"again,omitempty"`
	Name  string `json:"n,omitempty"` // the method of a message
	Text  string `json:"x,omitempty"`
	Term  int    `json:"term,omitempty"`
	Index int    `json:"index,omitempty"`
	Leads bool   `json:"leads,omitempty"`
	// Fields holds the numbers of a message by the paper's names.
	Fields map[Field]int `json:"f,omitempty"`
	// Entries holds the entries of an AppendEntries.
	Entries []Entry `json:"e,omitempty"`
	// Data is the body of a message as it was sent. Describe puts it into words.
	Data []byte `json:"d,omitempty"`
	// Output is the length of the program's output before the event.
	Output int64 `json:"o,omitempty"`
}

// An Entry is an entry of a log. Long commands are shortened.
type Entry struct {
	Term    int    `json:"t"`
	Command string `json:"c"`
	// Call is the call that asked for the command, or 0 if none is known.
	Call uint64 `json:"call,omitempty"`
}

// A Field is a number of a Raft message.
type Field string

// The fields of Figures 2 and 13 of the paper. A bool is 0 or 1.
const (
	FieldTerm         Field = "term"
	FieldLastLogIndex Field = "lastLogIndex"
	FieldLastLogTerm  Field = "lastLogTerm"
	FieldVoteGranted  Field = "voteGranted"
	FieldPreVote      Field = "preVote"
	FieldPrevLogIndex Field = "prevLogIndex"
	FieldPrevLogTerm  Field = "prevLogTerm"
	FieldEntries      Field = "entries" // their number
	FieldLeaderCommit Field = "leaderCommit"
	FieldSuccess      Field = "success"
	FieldLastIndex    Field = "lastIncludedIndex"
	FieldLastTerm     Field = "lastIncludedTerm"
	// FieldUnknown is 1 in a message of Raft whose fields have no known meaning. No absent
	// number of such a message is taken as 0 or false.
	FieldUnknown Field = "unknown"
)

// field returns a number of the message.
func (e *Event) field(f Field) (n int, ok bool) {
	n, ok = e.Fields[f]
	return n, ok
}

// is reports whether a field is true.
func (e *Event) is(f Field) bool { return e.Fields[f] == 1 }

// understood reports whether the meaning of all messages of Raft is known. Without it,
// something that no message shows may still have happened.
func (r *Recording) understood() bool {
	return r.Omitted == 0 && !slices.ContainsFunc(r.Events, func(e Event) bool { return e.is(FieldUnknown) })
}

// A LaneKind is a kind of lanes.
type LaneKind string

// The kinds of lanes.
const (
	Server LaneKind = "server"
	Client LaneKind = "client"
)

// A Lane is a server or a client.
type Lane struct {
	Name string   `json:"name"`
	Kind LaneKind `json:"kind"`
	// Running marks a server that may have had a term and a log before the recording.
	Running bool `json:"running,omitempty"`
}

// A Recording is a finished recording.
type Recording struct {
	// Test is the name of the test, and Repeat is the command that runs it again.
	Test   string  `json:"test,omitempty"`
	Repeat string  `json:"repeat,omitempty"`
	Lanes  []Lane  `json:"lanes"`
	Events []Event `json:"-"`
	// Omitted counts older events beyond the bounds.
	Omitted  int      `json:"omitted,omitempty"`
	Breaches []Breach `json:"breaches,omitempty"`
	RPCs     *RPCs    `json:"rpcs,omitempty"`
	// Output is the length of the program's output before the recording.
	Output int64 `json:"output,omitempty"`

	streamed int // events of earlier recordings in the stream
}

// RPCs has the names of a program's messages, if they differ from those of the paper.
type RPCs struct {
	// Methods holds the paper's name of a method, such as AppendEntries.
	Methods map[string]string `json:"methods,omitempty"`
	// Granted and Success are the fields of replies with these meanings.
	Granted string `json:"granted,omitempty"`
	Success string `json:"success,omitempty"`
}

// RPC returns the paper's name of a message's method, or the empty string.
func (r *Recording) RPC(name string) string {
	method := name[strings.LastIndexByte(name, '.')+1:]
	switch method {
	case "RequestVote", "AppendEntries", "InstallSnapshot":
		return method
	}
	if r.RPCs == nil {
		return ""
	}
	return r.RPCs.Methods[method]
}

// lane returns the name of a lane.
func (r *Recording) lane(i int) string {
	if i < 0 || i >= len(r.Lanes) {
		return "the network"
	}
	return r.Lanes[i].Name
}
