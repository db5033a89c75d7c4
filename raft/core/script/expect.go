package script

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"raftlab/raft/core"
)

// expect checks a condition on the state that was reached:
//
//	expect WHO FIELD OP VALUE    of a server, "all" running servers, or "any" of them
//	expect COUNT OP VALUE        of the cluster
//
// The README of testdata has the fields and the counts.
func (w *World) expect(args []string) error {
	cond := strings.Join(args, " ")
	if count, ok := counts[args[0]]; ok {
		if len(args) != 3 {
			return fmt.Errorf("%w: %q; want COUNT OP VALUE", ErrCommand, cond)
		}
		got := strconv.Itoa(count(w))
		return verdict(cond, args[0], got, args[1], args[2])
	}
	if len(args) < 4 {
		return fmt.Errorf("%w: %q; want WHO FIELD OP VALUE, or COUNT OP VALUE", ErrCommand, cond)
	}
	field, ok := fields[args[1]]
	if !ok {
		return fmt.Errorf("%w: field %q", ErrCommand, args[1])
	}
	ids := w.cluster.IDs()
	if args[0] != "all" && args[0] != "any" {
		id, err := w.id(args[0])
		if err != nil {
			return err
		}
		ids = []core.NodeID{id}
	}
	var last error
	for _, id := range ids {
		if !w.cluster.Up(id) && args[1] != "state" {
			if len(ids) == 1 {
				return fmt.Errorf("%w: %d", ErrDown, id)
			}
			continue
		}
		err := verdict(cond, fmt.Sprintf("%s of server %d", args[1], id), field(w, id), args[2], strings.Join(args[3:], " "))
		switch {
		case args[0] == "any" && err == nil:
			return nil
		case args[0] != "any" && err != nil:
			return err
		}
		last = err
	}
	return last
}

// counts are the numbers of a whole cluster.
var counts = map[string]func(w *World) int{
	"leaders": func(w *World) int {
		n := 0
		for _, id := range w.cluster.IDs() {
			if w.cluster.Up(id) && w.cluster.Core(id).Status().State == core.Leader {
				n++
			}
		}
		return n
	},
	"inflight":   func(w *World) int { return len(w.cluster.InFlight()) },
	"delayed":    func(w *World) int { return len(w.cluster.Delayed()) },
	"violations": func(w *World) int { return len(w.cluster.Violations()) },
	"reads":      func(w *World) int { n, _ := w.cluster.Reads(); return n },
	"failed":     func(w *World) int { _, n := w.cluster.Reads(); return n },
}

// ofStatus is a numeric field of a running server.
func ofStatus(get func(core.Status) uint64) func(*World, core.NodeID) string {
	return func(w *World, id core.NodeID) string {
		return strconv.FormatUint(get(w.cluster.Core(id).Status()), 10)
	}
}

// fields are the properties of one server.
var fields = map[string]func(w *World, id core.NodeID) string{
	"state": func(w *World, id core.NodeID) string {
		if !w.cluster.Up(id) {
			return "down"
		}
		return w.cluster.Core(id).Status().State.String()
	},
	"term":     ofStatus(func(st core.Status) uint64 { return st.CurrentTerm }),
	"voted":    ofStatus(func(st core.Status) uint64 { return uint64(st.VotedFor) }),
	"leader":   ofStatus(func(st core.Status) uint64 { return uint64(st.Leader) }),
	"commit":   ofStatus(func(st core.Status) uint64 { return st.CommitIndex }),
	"applied":  ofStatus(func(st core.Status) uint64 { return st.LastApplied }),
	"last":     ofStatus(func(st core.Status) uint64 { return st.LastIndex }),
	"lastterm": ofStatus(func(st core.Status) uint64 { return st.LastTerm }),
	"snapshot": ofStatus(func(st core.Status) uint64 { return st.SnapshotIndex }),
	"joint":    func(w *World, id core.NodeID) string { return strconv.FormatBool(w.cluster.Core(id).Status().Joint) },
	"log": func(w *World, id core.NodeID) string {
		var terms []string
		for _, e := range w.cluster.Core(id).Entries() {
			terms = append(terms, strconv.FormatUint(e.Term, 10))
		}
		return strings.Join(terms, " ")
	},
	"voters": func(w *World, id core.NodeID) string {
		cfg, _ := w.cluster.Core(id).Configuration()
		var ids []string
		for _, v := range cfg.Voters {
			ids = append(ids, strconv.FormatUint(uint64(v), 10))
		}
		return strings.Join(ids, ",")
	},
}

// verdict compares a value with the wanted one.
func verdict(cond, name, got, op, want string) error {
	holds := false
	a, errA := strconv.ParseUint(got, 10, 64)
	b, errB := strconv.ParseUint(want, 10, 64)
	switch {
	case op == "=":
		holds = got == want
	case op == "!=":
		holds = got != want
	case !slices.Contains([]string{"<", "<=", ">", ">="}, op):
		return fmt.Errorf("%w: %q in %q; want one of = != < <= > >=", ErrCommand, op, cond)
	case errA != nil || errB != nil:
		return fmt.Errorf("%w: %s is %q, and %q compares numbers", ErrArgument, name, got, cond)
	default:
		holds = op == "<" && a < b || op == "<=" && a <= b || op == ">" && a > b || op == ">=" && a >= b
	}
	if !holds {
		return fmt.Errorf("%w: %s is %s; want %s %s", ErrUnexpected, name, orNone(got), op, want)
	}
	return nil
}

func orNone(value string) string {
	if value == "" {
		return "empty"
	}
	return value
}
