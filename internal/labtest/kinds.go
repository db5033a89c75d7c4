package labtest

import (
	"bytes"
	"cmp"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"raftlab/labgob"
	"raftlab/labrpc"
	"raftlab/raft"
)

// kinds knows the kind of each RPC method. The names of the paper have their kind. An
// implementation may choose other names, and [learn] finds their kinds by behavior.
type kinds struct {
	mu      sync.Mutex
	methods map[string]Kind // by the part of Service.Method behind the dot
	grants  string          // the field of a vote's reply that is true for a granted vote
	accepts string          // the field of the reply to AppendEntries that is true for success
	// commands and snapshots are recent ones of the tests. A request of an unknown method
	// that carries one of them is an AppendEntries or an InstallSnapshot.
	commands, snapshots [][]byte
}

const (
	// minNeedle is the length of a command that no other part of a message equals.
	minNeedle  = 8
	maxNeedles = 64
	// watchLeader is the time for a leader to send heartbeats in.
	watchLeader = 500 * time.Millisecond
)

func newKinds() *kinds {
	return &kinds{
		methods: map[string]Kind{"RequestVote": Vote, "AppendEntries": Append, "InstallSnapshot": Snapshot},
		grants:  "VoteGranted",
		accepts: "Success",
	}
}

// of derives the kind from the method. A pre-vote with the method of a vote counts as a
// Vote.
func (k *kinds) of(raw labrpc.Message) Kind {
	_, method, _ := strings.Cut(raw.Method, ".")
	k.mu.Lock()
	defer k.mu.Unlock()
	if kind, known := k.methods[method]; known || raw.Reply {
		return kind
	}
	carries := func(needle []byte) bool { return bytes.Contains(raw.Bytes(), needle) }
	switch {
	case slices.ContainsFunc(k.snapshots, carries):
		k.methods[method] = Snapshot
	case slices.ContainsFunc(k.commands, carries):
		k.methods[method] = Append
	}
	return k.methods[method]
}

// proposed notes a command of a test.
func (k *kinds) proposed(command any) {
	if s, ok := command.(string); ok && len(s) >= minNeedle {
		k.note(&k.commands, []byte(s[:min(len(s), 64)]))
	}
}

// taken notes a snapshot of a test.
func (k *kinds) taken(data []byte) { k.note(&k.snapshots, data) }

func (k *kinds) note(list *[][]byte, needle []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	*list = append(*list, needle)
	if len(*list) > maxNeedles {
		*list = (*list)[1:]
	}
}

// granted reports whether the reply to a request for a vote grants the vote.
func (k *kinds) granted(data []byte) bool {
	k.mu.Lock()
	name := k.grants
	k.mu.Unlock()
	granted, ok := boolean(data, name)
	return ok && granted
}

// accepted reports whether the reply to an AppendEntries reports success.
func (k *kinds) accepted(data []byte) bool {
	k.mu.Lock()
	name := k.accepts
	k.mu.Unlock()
	accepted, ok := boolean(data, name)
	return ok && accepted
}

// boolean returns a bool field of an encoded struct.
func boolean(data []byte, name string) (value, ok bool) {
	reply := reflect.New(reflect.StructOf([]reflect.StructField{{Name: name, Type: reflect.TypeFor[bool]()}}))
	if labgob.Decode(data, reply.Interface()) != nil {
		return false, false
	}
	return reply.Elem().Field(0).Bool(), true
}

// gobBool is the type of a bool in gob's description of a struct.
const gobBool = 2

// booleans returns the names of the bool fields of an encoded struct.
func booleans(data []byte) (names []string) {
	for _, m := range field.FindAllSubmatch(data, -1) {
		if m[0][len(m[0])-2] == gobBool {
			names = append(names, string(m[1]))
		}
	}
	return names
}

// learned has the kinds of each server type that was under test in this process.
var learned struct {
	sync.Mutex
	kinds map[reflect.Type]*kinds
}

// kindsFor returns the kinds of the servers under test. For servers with names of their
// own, a cluster shows them first.
func kindsFor(t testing.TB) *kinds {
	server := serverType()
	learned.Lock()
	k := learned.kinds[server]
	learned.Unlock()
	if k != nil {
		return k
	}
	k = newKinds()
	if ownNames(server) {
		learn(t, k)
	}
	learned.Lock()
	defer learned.Unlock()
	if learned.kinds == nil {
		learned.kinds = make(map[reflect.Type]*kinds)
	}
	learned.kinds[server] = k
	return k
}

// serverType returns the type of the servers under test.
func serverType() reflect.Type {
	if !otherRaft {
		return reflect.TypeFor[*raft.Raft]()
	}
	net := labrpc.MakeNetwork()
	defer net.Cleanup()
	ends := []*labrpc.ClientEnd{net.MakeEnd(0), net.MakeEnd(1), net.MakeEnd(2)} // not connected
	rf := MakeServer(ends, 0, raft.MakePersister(), make(chan raft.ApplyMsg))
	rf.Kill()
	return reflect.TypeOf(rf)
}

// ownNames reports whether a server has RPC methods with other names than those of the
// paper.
func ownNames(server reflect.Type) bool {
	names := newKinds().methods
	for i := range server.NumMethod() {
		m := server.Method(i)
		isRPC := m.Type.NumIn() == 3 && m.Type.NumOut() == 0 && m.Type.In(2).Kind() == reflect.Pointer
		if _, known := names[m.Name]; isRPC && !known {
			return true
		}
	}
	return false
}

// A sighting is what a cluster without a fault shows of its messages.
type sighting struct {
	mu       sync.Mutex
	order    []string               // methods of requests, by first use
	senders  map[string]map[int]int // by method and server, the number of requests
	replies  []Message              // delivered
	methods  []string               // of replies
	watching bool                   // a leader is known
	led      map[string]map[int]int // as senders, while a leader is known
}

func (s *sighting) hear(e labrpc.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := message(e.Message, Other)
	_, method, _ := strings.Cut(e.Message.Method, ".")
	switch {
	case m.Reply && e.Kind == labrpc.Delivered:
		s.replies, s.methods = append(s.replies, m), append(s.methods, method)
	case m.Reply || e.Kind != labrpc.Sent:
	case s.watching:
		count(s.led, method, m.From)
	default:
		if len(s.senders[method]) == 0 {
			s.order = append(s.order, method)
		}
		count(s.senders, method, m.From)
	}
}

func count(all map[string]map[int]int, method string, from int) {
	if all[method] == nil {
		all[method] = make(map[int]int)
	}
	all[method][from]++
}

// learn elects a leader among three servers, and finds out which methods a leader calls
// and which methods a candidate calls. A cluster without a leader teaches nothing.
func learn(t testing.TB, k *kinds) {
	c := newCluster(t, 3, k, Round(-1))
	defer c.Shutdown()
	s := &sighting{senders: make(map[string]map[int]int), led: make(map[string]map[int]int)}
	defer c.Net.AddTap(s.hear)()
	leader := -1
	if !c.Eventually(ElectionLimit, func() bool { leader = c.leaderNow(c.All()); return leader >= 0 }) {
		return
	}
	term := c.NewestTerm()
	s.mu.Lock()
	s.watching = true
	s.mu.Unlock()
	c.Sleep(watchLeader)
	if c.NewestTerm() == term {
		s.teach(k, leader)
	}
}

// teach tells k what the messages show.
func (s *sighting) teach(k *kinds, leader int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	for method, by := range s.led {
		if _, known := k.methods[method]; !known && by[leader] > 0 && len(by) == 1 {
			k.methods[method] = Append // heartbeats
		}
	}
	var asking []string
	for _, method := range s.order {
		if kind := k.methods[method]; s.senders[method][leader] > 0 && (kind == Other || kind == Vote) {
			asking = append(asking, method)
		}
	}
	switch len(asking) {
	case 1:
		k.methods[asking[0]] = Vote
	case 2: // a candidate asks for pre-votes first
		k.methods[asking[0]], k.methods[asking[1]] = PreVote, Vote
	default:
		return
	}
	k.grants = cmp.Or(s.agreement(leader, asking[len(asking)-1]), k.grants)
	for method := range s.led {
		if k.methods[method] == Append {
			k.accepts = cmp.Or(s.agreement(leader, method), k.accepts)
		}
	}
}

// agreement finds the field by which a reply agrees. The field is the only bool of the
// replies to a method, and true in all replies to the new leader, or agreement returns
// "". After a refusal nobody can tell such a field from a field with the opposite meaning.
func (s *sighting) agreement(leader int, method string) (name string) {
	for i, m := range s.replies {
		if s.methods[i] != method || m.To != leader {
			continue
		}
		names := booleans(m.data)
		if len(names) != 1 || name != "" && names[0] != name {
			return ""
		}
		name = names[0]
		if agrees, ok := boolean(m.data, name); !ok || !agrees {
			return ""
		}
	}
	return name
}
