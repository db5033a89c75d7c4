package labtrace_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/labtrace"
	"raftlab/labgob"
	"raftlab/trace"
)

// The messages of programs in several styles.
type (
	lastIndexVote struct{ Term, Candidate, LastIndex, LastTerm int }
	paperVote     struct{ Term, CandidateId, LastLogIndex, LastLogTerm int }
	positionVote  struct {
		Term int
		Last struct{ Index, Term int }
	}
	strangeVote  struct{ Term, Who, A, B int }
	grantedReply struct {
		Term    int
		Granted bool
	}
	yesReply struct {
		Term int
		Yes  bool
	}
	paperReply struct {
		Term        int
		VoteGranted bool
	}
	deniedReply struct {
		Term   int
		Denied bool
	}
	oppositeReply struct {
		Term       int
		VoteDenied bool
	}
	ambiguousVote struct{ Term, LastIndex, LogIndex, LastTerm int }
	columns       struct {
		Term, Leader, PrevIndex, PrevTerm int
		Terms                             []int
		Commands                          []any
		Commit                            int
	}
	paperColumns struct {
		Term, LeaderId, PrevLogIndex, PrevLogTerm int
		Terms                                     []int
		Commands                                  []any
		LeaderCommit                              int
	}
	shortAppend struct {
		Term, PrevIndex, PrevTerm int
		Entries                   []logEntry
		Commit                    int
	}
	copyAppend struct {
		Term, Leader, Prev, PrevTerm int
		Records                      []logEntry
		Commit                       int
	}
	bytesAppend struct {
		Term    int
		Prev    struct{ Index, Term int }
		Entries []byte
		Commit  int
	}
	okReply struct {
		Term int
		OK   bool
		End  int
	}
	successReply struct {
		Term    int
		Success bool
		Hint    int
	}
	conflictReply struct {
		Term     int
		Conflict bool
	}
	install struct {
		Term, Leader, LastIndex, LastTerm int
		Data                              []byte
	}
)

// The fields of a message are found by their structure and by the words of the paper. A message
// without a meaning is marked, and none of its numbers is taken as 0.
func TestMeaning(t *testing.T) {
	bytes := func(v any) []byte {
		data, err := labgob.Encode(v)
		require.NoError(t, err)
		return data
	}
	type fields = map[trace.Field]int
	vote := fields{trace.FieldTerm: 3, trace.FieldLastLogIndex: 7, trace.FieldLastLogTerm: 2}
	granted := fields{trace.FieldTerm: 3, trace.FieldVoteGranted: 1}
	appends := fields{trace.FieldTerm: 3, trace.FieldPrevLogIndex: 7, trace.FieldPrevLogTerm: 2, trace.FieldEntries: 2, trace.FieldLeaderCommit: 6}
	beat := fields{trace.FieldTerm: 3, trace.FieldPrevLogIndex: 7, trace.FieldPrevLogTerm: 2, trace.FieldEntries: 0, trace.FieldLeaderCommit: 6}
	accepted := fields{trace.FieldTerm: 3, trace.FieldSuccess: 1}
	unknown := fields{trace.FieldTerm: 3, trace.FieldUnknown: 1}
	entries := []logEntry{{2, "x"}, {3, "y"}}
	position := struct{ Index, Term int }{7, 2}
	cases := map[string]struct {
		method string
		reply  bool
		body   any
		want   fields
	}{
		"actors vote":          {"RequestVote", false, lastIndexVote{3, 1, 7, 2}, vote},
		"paper vote":           {"RequestVote", false, paperVote{3, 1, 7, 2}, vote},
		"vote with a struct":   {"RequestVote", false, positionVote{3, position}, vote},
		"strange vote":         {"RequestVote", false, strangeVote{3, 1, 7, 2}, unknown},
		"pipeline vote reply":  {"RequestVote", true, grantedReply{3, true}, granted},
		"pipeline refusal":     {"RequestVote", true, grantedReply{3, false}, fields{trace.FieldTerm: 3, trace.FieldVoteGranted: 0}},
		"actors vote reply":    {"RequestVote", true, yesReply{3, true}, granted},
		"paper vote reply":     {"RequestVote", true, paperReply{3, true}, granted},
		"a reply of refusal":   {"RequestVote", true, deniedReply{3, true}, unknown},
		"a denied vote":        {"RequestVote", true, oppositeReply{3, true}, unknown},
		"two last indexes":     {"RequestVote", false, ambiguousVote{3, 7, 8, 2}, unknown},
		"pipeline append":      {"AppendEntries", false, columns{3, 1, 7, 2, []int{2, 3}, []any{"x", "y"}, 6}, appends},
		"pipeline heartbeat":   {"AppendEntries", false, columns{3, 1, 7, 2, nil, nil, 6}, beat},
		"columns that differ":  {"AppendEntries", false, columns{3, 1, 7, 2, []int{2, 3}, []any{"x"}, 6}, unknown},
		"perpeer append":       {"AppendEntries", false, paperColumns{3, 1, 7, 2, []int{2, 3}, []any{"x", "y"}, 6}, appends},
		"eventloop append":     {"AppendEntries", false, shortAppend{3, 7, 2, entries, 6}, appends},
		"eventloop heartbeat":  {"AppendEntries", false, shortAppend{3, 7, 2, nil, 6}, beat},
		"actors append":        {"AppendEntries", false, copyAppend{3, 1, 7, 2, entries, 6}, appends},
		"actors heartbeat":     {"AppendEntries", false, copyAppend{3, 1, 7, 2, nil, 6}, beat},
		"append of bytes":      {"AppendEntries", false, bytesAppend{3, position, bytes(entries), 6}, appends},
		"heartbeat of bytes":   {"AppendEntries", false, bytesAppend{3, position, nil, 6}, beat},
		"append of other data": {"AppendEntries", false, bytesAppend{3, position, []byte("zip"), 6}, unknown},
		"actors append reply":  {"AppendEntries", true, okReply{3, true, 9}, accepted},
		"success":              {"AppendEntries", true, successReply{3, true, 9}, accepted},
		"conflict":             {"AppendEntries", true, conflictReply{3, false}, unknown},
		"snapshot":             {"InstallSnapshot", false, install{3, 1, 7, 2, nil}, fields{trace.FieldTerm: 3, trace.FieldLastIndex: 7, trace.FieldLastTerm: 2}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			run := &trace.Recording{Lanes: []trace.Lane{{Name: "S0", Kind: trace.Server}, {Name: "S1", Kind: trace.Server}}, Events: []trace.Event{
				{Kind: trace.Sent, Lane: 0, Peer: 1, Call: 1, Message: 1, Name: "Raft." + c.method, Reply: c.reply, Data: bytes(c.body)},
			}}
			labtrace.Describe(run)
			e := run.Events[0]
			require.Equal(t, c.want, e.Fields)
			if c.want[trace.FieldEntries] == 2 {
				require.Equal(t, []trace.Entry{{Term: 2, Command: `"x"`}, {Term: 3, Command: `"y"`}}, e.Entries)
			}
			if c.want[trace.FieldUnknown] == 1 {
				require.Contains(t, e.Text, "fields not recognized")
			} else {
				require.NotContains(t, e.Text, "not recognized")
			}
		})
	}
}
