package script

import (
	"fmt"
	"strconv"
	"strings"

	"raftlab/raft/core"
	"raftlab/raft/core/coretest"
)

// command carries out one line.
func (w *World) command(line string) error {
	if rest, ok := strings.CutPrefix(line, "quiet "); ok {
		before := w.effects
		err := w.command(strings.TrimSpace(rest))
		w.effects = before
		return err
	}
	words := strings.Fields(line)
	name, args := words[0], words[1:]
	switch name {
	case "log":
		return w.log(args)
	case "cluster":
		return w.start(args)
	}
	do, ok := commands[name]
	switch {
	case !ok:
		return fmt.Errorf("%w: %q", ErrCommand, line)
	case w.cluster == nil:
		return fmt.Errorf("%w: %q", ErrNoCluster, line)
	case len(args) < do.least:
		return fmt.Errorf("%w: %s has %d arguments; want %s", ErrCommand, name, len(args), do.usage)
	}
	if err := do.run(w, args); err != nil {
		return err
	}
	w.cluster.FinishAll()
	if n := len(w.cluster.InFlight()); n > maxInFlight {
		return fmt.Errorf("%w: %d messages are on their way; at most %d are allowed", ErrLimit, n, maxInFlight)
	}
	return nil
}

// verb is a command for a cluster.
type verb struct {
	usage string
	least int // number of arguments
	run   func(w *World, args []string) error
}

// perServer is a verb for each of some servers.
func perServer(do func(w *World, id core.NodeID)) verb {
	return verb{"ID...", 1, func(w *World, args []string) error {
		return w.each(args, func(id core.NodeID) error { do(w, id); return nil })
	}}
}

var commands = map[string]verb{
	"timeout":   {"ID", 1, (*World).timeout},
	"tick":      {"ID|all [N]", 1, (*World).tick},
	"propose":   {"ID DATA...", 2, (*World).propose},
	"members":   {"ID [voters=N,N...] [learners=N,N...]", 1, (*World).members},
	"transfer":  {"ID ID", 2, (*World).transfer},
	"read":      {"ID...", 1, (*World).read},
	"deliver":   {"[LINK]", 0, (*World).deliver},
	"drop":      {"[LINK]", 0, (*World).drop},
	"repeat":    {"[LINK]", 0, (*World).repeat},
	"reorder":   {"[LINK]", 0, (*World).reorder},
	"delay":     {"[LINK]", 0, (*World).delay},
	"release":   {"[LINK]", 0, (*World).release},
	"settle":    {"", 0, func(w *World, _ []string) error { w.cluster.Settle(); return nil }},
	"partition": {"ID... [| ID...]", 1, (*World).partition},
	"cut":       {"ID->ID", 1, (*World).cut},
	"heal":      {"", 0, func(w *World, _ []string) error { w.cluster.Heal(); return nil }},
	"crash":     perServer(func(w *World, id core.NodeID) { w.cluster.Crash(id) }),
	"restart":   perServer(func(w *World, id core.NodeID) { w.cluster.Restart(id) }),
	"snapshot":  perServer(func(w *World, id core.NodeID) { w.cluster.Snapshot(id, false) }),
	"stall":     perServer(func(w *World, id core.NodeID) { w.cluster.Stall(id, true) }),
	"resume":    perServer(func(w *World, id core.NodeID) { w.cluster.Stall(id, false) }),
	"wake":      perServer(func(w *World, id core.NodeID) { w.cluster.Wake(id) }),
	"stepdown":  perServer(func(w *World, id core.NodeID) { w.cluster.StepDown(id) }),
	"inflight":  {"", 0, (*World).inflight},
	"status":    {"", 0, (*World).status},
	"logs":      {"", 0, (*World).logs},
	"expect":    {"CONDITION", 1, (*World).expect},
}

func number(word string, most int) (int, error) {
	n, err := strconv.Atoi(word)
	switch {
	case err != nil || n < 0:
		return 0, fmt.Errorf("%w: %q is no number", ErrArgument, word)
	case n > most:
		return 0, fmt.Errorf("%w: %d; at most %d is allowed", ErrLimit, n, most)
	}
	return n, nil
}

func (w *World) id(word string) (core.NodeID, error) {
	n, err := number(word, 1<<30)
	if err != nil {
		return core.None, err
	}
	if n < 1 || n > len(w.cluster.IDs()) {
		return core.None, fmt.Errorf("%w: there is no server %d; servers are 1 to %d", ErrArgument, n, len(w.cluster.IDs()))
	}
	return core.NodeID(n), nil
}

// running returns the id of a server that is not down.
func (w *World) running(word string) (core.NodeID, error) {
	id, err := w.id(word)
	if err == nil && !w.cluster.Up(id) {
		err = fmt.Errorf("%w: %d", ErrDown, id)
	}
	return id, err
}

func (w *World) ids(word string) ([]core.NodeID, error) {
	if word == "all" {
		return w.cluster.IDs(), nil
	}
	id, err := w.id(word)
	return []core.NodeID{id}, err
}

func (w *World) each(words []string, do func(core.NodeID) error) error {
	for _, word := range words {
		ids, err := w.ids(word)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := do(id); err != nil {
				return err
			}
		}
	}
	return nil
}

// log ID term=T TERM...: a server's disk when the cluster starts.
func (w *World) log(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("%w: log has %d arguments; want ID term=T TERM and more", ErrCommand, len(args))
	}
	if len(args) > maxLog {
		return fmt.Errorf("%w: a log of %d entries; at most %d are allowed", ErrLimit, len(args)-2, maxLog-2)
	}
	numbers := make([]uint64, len(args))
	for i, word := range args {
		if i == 1 {
			word = strings.TrimPrefix(word, "term=")
		}
		n, err := number(word, 1<<30)
		if err != nil {
			return err
		}
		numbers[i] = uint64(n)
	}
	d := core.Persistent{HardState: core.HardState{CurrentTerm: numbers[1]}}
	last := uint64(1)
	for i, term := range numbers[2:] {
		if term < last || term > numbers[1] {
			return fmt.Errorf("%w: entry %d of term %d follows one of term %d in a log of term %d", ErrArgument, i+1, term, last, numbers[1])
		}
		last = term
		d.Entries = append(d.Entries, core.Entry{Index: uint64(i + 1), Term: term, Data: []byte(fmt.Sprintf("%d.%d", i+1, term))})
	}
	if w.cluster != nil {
		w.cluster, w.disks, w.reported = nil, nil, 0
	}
	if w.disks == nil {
		w.disks = map[core.NodeID]core.Persistent{}
	}
	w.disks[core.NodeID(numbers[0])] = d
	return nil
}

// start starts a cluster.
func (w *World) start(args []string) error {
	if len(args) < 1 {
		return fmt.Errorf("%w: cluster wants N [OPTION...], and has no arguments", ErrCommand)
	}
	servers, err := number(args[0], maxServers)
	if err != nil {
		return err
	}
	if servers < 1 {
		return fmt.Errorf("%w: a cluster of %d servers", ErrArgument, servers)
	}
	opt := coretest.Options{
		Servers:   servers,
		Disks:     w.disks,
		Trace:     func(line string) { w.effects = append(w.effects, Effect{Text: line}) },
		Stepped:   w.stepped,
		KeepGoing: true,
	}
	for _, arg := range args[1:] {
		if err := option(&opt, arg); err != nil {
			return err
		}
	}
	if err := allowed(opt); err != nil {
		return err
	}
	w.cluster, w.disks, w.reported = coretest.New(opt), nil, 0
	w.cluster.FinishAll()
	return nil
}

// option sets one option of a cluster.
func option(opt *coretest.Options, arg string) error {
	name, value, _ := strings.Cut(arg, "=")
	set := map[string]func(){
		"silent":    func() { opt.Silent = true },
		"noop":      func() { opt.Config.LeaderNoOp = true },
		"quiesce":   func() { opt.Config.Quiesce = true },
		"noprevote": func() { opt.Config.NoPreVote = true },
	}[name]
	if set != nil && value == "" {
		set()
		return nil
	}
	field := map[string]*int{
		"voters": &opt.Voters, "lease": &opt.Config.LeaseTicks, "chunk": &opt.Config.SnapshotChunkBytes,
		"cache": &opt.Config.MaxCachedBytes, "heartbeat": &opt.Config.HeartbeatTicks,
		"request": &opt.Config.MaxRequestBytes, "window": &opt.Config.MaxInflight,
	}[name]
	if field == nil {
		return fmt.Errorf("%w: option %q", ErrCommand, arg)
	}
	n, err := number(value, 1<<20)
	*field = n
	return err
}

// allowed refuses options without a possible cluster.
func allowed(opt coretest.Options) error {
	const electionTicks = 10 // the default of package coretest
	switch {
	case opt.Voters > opt.Servers:
		return fmt.Errorf("%w: %d voters of %d servers", ErrArgument, opt.Voters, opt.Servers)
	case opt.Config.HeartbeatTicks >= electionTicks:
		return fmt.Errorf("%w: heartbeat=%d; want less than the election timeout of %d ticks", ErrArgument, opt.Config.HeartbeatTicks, electionTicks)
	case opt.Config.LeaseTicks >= electionTicks:
		return fmt.Errorf("%w: lease=%d; want less than the election timeout of %d ticks", ErrArgument, opt.Config.LeaseTicks, electionTicks)
	}
	for id := range opt.Disks {
		if id < 1 || int(id) > opt.Servers {
			return fmt.Errorf("%w: a log of server %d in a cluster of %d", ErrArgument, id, opt.Servers)
		}
	}
	return nil
}

// timeout ID: ticks until the server calls an election.
func (w *World) timeout(args []string) error {
	return w.each(args, func(id core.NodeID) error {
		c := w.cluster.Core(id)
		if c == nil {
			return fmt.Errorf("%w: %d", ErrDown, id)
		}
		for range 1000 {
			before := c.Status()
			w.cluster.Tick(id)
			after := c.Status()
			switch {
			case after.State == core.PreCandidate && before.State != core.PreCandidate:
				w.printf("%d times out and asks for pre-votes in term %d", id, after.CurrentTerm+1)
				return nil
			case after.CurrentTerm > before.CurrentTerm:
				w.printf("%d times out and asks for votes in term %d", id, after.CurrentTerm)
				return nil
			}
		}
		return fmt.Errorf("%w: server %d does not time out", ErrArgument, id)
	})
}

// tick ID|all [N]
func (w *World) tick(args []string) error {
	n := 1
	if len(args) > 1 {
		var err error
		if n, err = number(args[1], maxTicks); err != nil {
			return err
		}
	}
	ids, err := w.ids(args[0])
	if err != nil {
		return err
	}
	for range n {
		for _, id := range ids {
			if !w.cluster.Up(id) {
				continue
			}
			before := w.cluster.Core(id).Status()
			w.cluster.Tick(id)
			if now := w.cluster.Core(id).Status(); now.State != before.State {
				w.printf("%d is %s term=%d", id, now.State, now.CurrentTerm)
			}
		}
	}
	return nil
}

// propose ID DATA...
func (w *World) propose(args []string) error {
	id, err := w.running(args[0])
	if err != nil {
		return err
	}
	for _, data := range args[1:] {
		if len(data) > maxData {
			return fmt.Errorf("%w: a command of %d bytes; at most %d are allowed", ErrLimit, len(data), maxData)
		}
		if err := w.cluster.Propose(id, data); err != nil {
			w.printf("%d refuses %q: %v", id, data, err)
		}
	}
	return nil
}

// members ID [voters=N,N...] [learners=N,N...]
func (w *World) members(args []string) error {
	id, err := w.running(args[0])
	if err != nil {
		return err
	}
	var next core.Configuration
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		var list []core.NodeID
		for _, word := range strings.Split(value, ",") {
			member, err := w.id(word)
			if err != nil {
				return err
			}
			list = append(list, member)
		}
		switch name {
		case "voters":
			next.Voters = list
		case "learners":
			next.Learners = list
		default:
			return fmt.Errorf("%w: list of members %q", ErrCommand, arg)
		}
	}
	if err := w.cluster.Reconfigure(id, next); err != nil {
		w.printf("%d refuses %v: %v", id, next, err)
	}
	return nil
}

// transfer ID ID
func (w *World) transfer(args []string) error {
	from, err := w.running(args[0])
	if err != nil {
		return err
	}
	to, err := w.id(args[1])
	if err != nil {
		return err
	}
	if err := w.cluster.Transfer(from, to); err != nil {
		w.printf("%d refuses to transfer leadership to %d: %v", from, to, err)
	}
	return nil
}

func (w *World) read(args []string) error {
	return w.each(args, func(id core.NodeID) error {
		if err := w.cluster.Read(id); err != nil {
			w.printf("%d refuses a read: %v", id, err)
		}
		return nil
	})
}

func (w *World) status([]string) error {
	for _, id := range w.cluster.IDs() {
		if !w.cluster.Up(id) {
			w.printf("%d down", id)
			continue
		}
		st := w.cluster.Core(id).Status()
		w.printf("%d %s term=%d voted=%d leader=%d log=%d/%d commit=%d applied=%d",
			id, st.State, st.CurrentTerm, st.VotedFor, st.Leader, st.LastIndex, st.LastTerm, st.CommitIndex, st.LastApplied)
	}
	return nil
}

// logs shows the logs as the paper's figures do: the term of each entry, and what a
// snapshot stands for in its place.
func (w *World) logs([]string) error {
	for _, id := range w.cluster.IDs() {
		d := w.cluster.Disk(id)
		line := fmt.Sprintf("%d |", id)
		if n := d.Snapshot.LastIncludedIndex; n > 0 {
			line += fmt.Sprintf(" snapshot to %d/%d |", n, d.Snapshot.LastIncludedTerm)
		}
		for _, e := range d.Entries {
			line += fmt.Sprint(" ", e.Term)
		}
		w.printf("%s", line)
	}
	return nil
}
