package core_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"raftlab/raft/core"
	"raftlab/raft/core/coretest"
)

var rewrite = flag.Bool("rewrite", false, "record the output of testdata/*.txt anew")

// TestScripts runs the stories in testdata. A block is some commands, a line
// "----" and what they did; testdata/README.md has the language.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d scripts: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := (&script{t: t}).run(string(text))
			switch {
			case *rewrite:
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			case got != string(text):
				t.Errorf("%s: the story has changed (-rewrite records it):\n%s", file, firstDifference(string(text), got))
			}
		})
	}
}

// firstDifference shows where two texts part, with the lines around it.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	part := func(lines []string) string {
		return strings.Join(lines[min(i, len(lines)):min(i+5, len(lines))], "\n")
	}
	return fmt.Sprintf("after\n%s\nwant\n%s\ngot\n%s", strings.Join(w[max(0, i-8):i], "\n"), part(w), part(g))
}

// script is a story under way.
type script struct {
	t       *testing.T
	disks   map[core.NodeID]core.Persistent // for the cluster to come
	cluster *coretest.Cluster
	out     []string
}

// run carries out a script and returns it with the output that it has now.
func (s *script) run(text string) string {
	var result []string
	recorded := false // inside of a block's recorded output
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case line == "":
			recorded = false
			result = append(result, line)
		case recorded:
		case line == "----":
			result = append(append(result, line), s.flush()...)
			recorded = true
		default:
			result = append(result, line)
			if !strings.HasPrefix(line, "#") {
				s.command(line)
			}
		}
	}
	if len(s.out) > 0 {
		s.t.Fatalf("the last block has no ---- line")
	}
	return strings.Join(result, "\n") + "\n"
}

func (s *script) flush() []string {
	out := s.out
	if len(out) == 0 {
		out = []string{"nothing to see"}
	}
	if s.cluster != nil && s.cluster.Err() != nil {
		s.t.Errorf("violation: %v", s.cluster.Err())
		out = append(out, "VIOLATION "+s.cluster.Err().Error())
	}
	s.out = nil
	return out
}

func (s *script) printf(format string, args ...any) {
	s.out = append(s.out, fmt.Sprintf(format, args...))
}

// command carries out one line.
func (s *script) command(line string) {
	if rest, ok := strings.CutPrefix(line, "quiet "); ok {
		before := s.out
		s.command(rest)
		s.out = before
		return
	}
	words := strings.Fields(line)
	name, args := words[0], words[1:]
	commands := map[string]func([]string){
		"log": s.log, "cluster": s.start,
		"timeout": s.timeout, "tick": s.tick, "propose": s.propose,
		"deliver":   func(a []string) { s.messages(a, s.cluster.Deliver) },
		"drop":      func(a []string) { s.messages(a, s.cluster.Drop) },
		"repeat":    func(a []string) { s.messages(a, s.repeat) },
		"settle":    func([]string) { s.cluster.Settle() },
		"partition": s.partition, "heal": func([]string) { s.cluster.Heal() },
		"crash":    func(a []string) { s.each(a, s.cluster.Crash) },
		"restart":  func(a []string) { s.each(a, s.cluster.Restart) },
		"snapshot": func(a []string) { s.each(a, func(id core.NodeID) { s.cluster.Snapshot(id, false) }) },
		"stall":    func(a []string) { s.each(a, func(id core.NodeID) { s.cluster.Stall(id, true) }) },
		"resume":   func(a []string) { s.each(a, func(id core.NodeID) { s.cluster.Stall(id, false) }) },
		"members":  s.members, "transfer": s.transfer,
		"read":     func(a []string) { s.each(a, s.read) },
		"wake":     func(a []string) { s.each(a, s.cluster.Wake) },
		"stepdown": func(a []string) { s.each(a, s.cluster.StepDown) },
		"inflight": func([]string) { s.inflight() },
		"status":   func([]string) { s.status() },
		"logs":     func([]string) { s.logs() },
	}
	do := commands[name]
	if do == nil || s.cluster == nil && name != "log" && name != "cluster" {
		s.t.Fatalf("no such command, or no cluster yet: %q", line)
	}
	do(args)
	if s.cluster != nil {
		s.cluster.FinishAll()
	}
}

func (s *script) number(word string) int {
	n, err := strconv.Atoi(word)
	if err != nil {
		s.t.Fatalf("%q is no number", word)
	}
	return n
}

func (s *script) ids(word string) []core.NodeID {
	if word == "all" {
		return s.cluster.IDs()
	}
	return []core.NodeID{core.NodeID(s.number(word))}
}

func (s *script) each(words []string, do func(core.NodeID)) {
	for _, word := range words {
		for _, id := range s.ids(word) {
			do(id)
		}
	}
}

// log ID term=T TERM...: what a server finds when the cluster starts.
func (s *script) log(args []string) {
	if s.cluster != nil {
		s.cluster, s.disks = nil, nil
	}
	if s.disks == nil {
		s.disks = map[core.NodeID]core.Persistent{}
	}
	var d core.Persistent
	d.HardState.CurrentTerm = uint64(s.number(strings.TrimPrefix(args[1], "term=")))
	for i, word := range args[2:] {
		term := s.number(word)
		d.Entries = append(d.Entries, core.Entry{Index: uint64(i + 1), Term: uint64(term), Data: []byte(fmt.Sprintf("%d.%d", i+1, term))})
	}
	s.disks[core.NodeID(s.number(args[0]))] = d
}

// cluster N [option=value]...: starts N servers.
func (s *script) start(args []string) {
	opt := coretest.Options{
		Servers: s.number(args[0]),
		Disks:   s.disks,
		Trace:   func(line string) { s.out = append(s.out, line) },
	}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "silent":
			opt.Silent = true
		case "noop":
			opt.Config.LeaderNoOp = true
		case "quiesce":
			opt.Config.Quiesce = true
		case "voters":
			opt.Voters = s.number(value)
		case "lease":
			opt.Config.LeaseTicks = s.number(value)
		case "chunk":
			opt.Config.SnapshotChunkBytes = s.number(value)
		case "cache":
			opt.Config.MaxCachedBytes = s.number(value)
		case "heartbeat":
			opt.Config.HeartbeatTicks = s.number(value)
		case "request":
			opt.Config.MaxRequestBytes = s.number(value)
		case "window":
			opt.Config.MaxInflight = s.number(value)
		default:
			s.t.Fatalf("no such option: %q", arg)
		}
	}
	s.cluster, s.disks = coretest.New(opt), nil
}

// timeout ID: ticks until the server calls an election.
func (s *script) timeout(args []string) {
	s.each(args, func(id core.NodeID) {
		c := s.cluster.Core(id)
		for range 1000 {
			before := c.Status().State
			if s.cluster.Tick(id); before != core.PreCandidate && c.Status().State == core.PreCandidate || before == core.Candidate && c.Status().State != before {
				s.printf("%d times out and asks for pre-votes in term %d", id, c.Status().CurrentTerm+1)
				return
			}
		}
		s.t.Fatalf("server %d does not time out; so far:\n%s", id, strings.Join(s.out, "\n"))
	})
}

// tick ID|all [N]
func (s *script) tick(args []string) {
	n := 1
	if len(args) > 1 {
		n = s.number(args[1])
	}
	for range n {
		for _, id := range s.ids(args[0]) {
			if !s.cluster.Up(id) {
				continue
			}
			before := s.cluster.Core(id).Status()
			s.cluster.Tick(id)
			if now := s.cluster.Core(id).Status(); now.State != before.State {
				s.printf("%d is %s term=%d", id, now.State, now.CurrentTerm)
			}
		}
	}
}

// propose ID DATA...
func (s *script) propose(args []string) {
	id := s.ids(args[0])[0]
	for _, data := range args[1:] {
		if err := s.cluster.Propose(id, data); err != nil {
			s.printf("%d refuses %q: %v", id, data, err)
		}
	}
}

// members ID [voters=N,N...] [learners=N,N...]
func (s *script) members(args []string) {
	var next core.Configuration
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		var list []core.NodeID
		for _, word := range strings.Split(value, ",") {
			list = append(list, core.NodeID(s.number(word)))
		}
		switch name {
		case "voters":
			next.Voters = list
		case "learners":
			next.Learners = list
		default:
			s.t.Fatalf("no such list of members: %q", arg)
		}
	}
	id := s.ids(args[0])[0]
	if err := s.cluster.Reconfigure(id, next); err != nil {
		s.printf("%d refuses %v: %v", id, next, err)
	}
}

// transfer ID ID
func (s *script) transfer(args []string) {
	from, to := s.ids(args[0])[0], s.ids(args[1])[0]
	if err := s.cluster.Transfer(from, to); err != nil {
		s.printf("%d refuses to transfer leadership to %d: %v", from, to, err)
	}
}

func (s *script) read(id core.NodeID) {
	if err := s.cluster.Read(id); err != nil {
		s.printf("%d refuses a read: %v", id, err)
	}
}

// messages does something to the messages that are on their way now, or to those
// from or to certain servers: "1->2", "1->", "->2".
func (s *script) messages(args []string, do func(int)) {
	match := func(m core.Message) bool {
		if len(args) == 0 {
			return true
		}
		from, to, ok := strings.Cut(args[0], "->")
		if !ok {
			s.t.Fatalf("%q is no link", args[0])
		}
		return (from == "" || s.number(from) == int(m.From)) && (to == "" || s.number(to) == int(m.To))
	}
	i, found := 0, false
	for range s.cluster.InFlight() {
		left := len(s.cluster.InFlight())
		if !match(s.cluster.InFlight()[i]) {
			i++
			continue
		}
		found = true
		if do(i); len(s.cluster.InFlight()) >= left {
			i++ // it stayed
		}
	}
	if !found {
		s.t.Fatalf("no message %v is on its way: %v", args, s.cluster.InFlight())
	}
}

func (s *script) repeat(i int) {
	s.printf("repeated: %v", s.cluster.InFlight()[i])
	s.cluster.Duplicate(i)
}

// partition 1 | 2 3
func (s *script) partition(args []string) {
	groups := [][]core.NodeID{nil}
	for _, word := range args {
		if word == "|" {
			groups = append(groups, nil)
			continue
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], s.ids(word)...)
	}
	s.cluster.Partition(groups...)
}

func (s *script) inflight() {
	for _, m := range s.cluster.InFlight() {
		s.printf("%v", m)
	}
}

func (s *script) status() {
	for _, id := range s.cluster.IDs() {
		if !s.cluster.Up(id) {
			s.printf("%d down", id)
			continue
		}
		st := s.cluster.Core(id).Status()
		s.printf("%d %s term=%d voted=%d leader=%d log=%d/%d commit=%d applied=%d",
			id, st.State, st.CurrentTerm, st.VotedFor, st.Leader, st.LastIndex, st.LastTerm, st.CommitIndex, st.LastApplied)
	}
}

// logs shows the logs as the paper's figures do: the term of each entry, and
// what a snapshot stands for in its place.
func (s *script) logs() {
	for _, id := range s.cluster.IDs() {
		d := s.cluster.Disk(id)
		line := fmt.Sprintf("%d |", id)
		if n := d.Snapshot.LastIncludedIndex; n > 0 {
			line += fmt.Sprintf(" snapshot to %d/%d |", n, d.Snapshot.LastIncludedTerm)
		}
		for _, e := range d.Entries {
			line += fmt.Sprint(" ", e.Term)
		}
		s.printf("%s", line)
	}
}
