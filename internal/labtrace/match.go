package labtrace

import (
	"fmt"
	"slices"
	"strings"

	"raftlab/labgob"
	"raftlab/trace"
)

// A matcher finds the request behind each entry of a log. A server puts an entry into its
// log while it answers a request, and the entry holds the values of the request.
type matcher struct {
	open map[int][]request // requests that a server has not answered, by the server's lane
	seen map[string]uint64 // the request of an entry, 0 if there is none
}

// A request is a message to a server that may lead to an entry.
type request struct {
	call   uint64
	values []string
}

func newMatcher() *matcher {
	return &matcher{open: make(map[int][]request), seen: make(map[string]uint64)}
}

// note follows the requests through an event. c is the content of the event's message.
func (m *matcher) note(e *trace.Event, c content) {
	switch {
	case e.Kind == trace.Crashed:
		delete(m.open, e.Lane)
	case e.Kind == trace.Delivered && !e.Reply && len(c.values) > 0:
		m.open[e.Lane] = append(m.open[e.Lane], request{e.Call, c.values})
	case e.Kind == trace.Sent && e.Reply:
		m.open[e.Lane] = slices.DeleteFunc(m.open[e.Lane], func(r request) bool { return r.call == e.Call })
	case e.Kind == trace.Sent && len(c.commands) > 0:
		for i := range c.Entries {
			c.Entries[i].Call = m.origin(e.Lane, c.Fields[trace.FieldPrevLogIndex]+1+i, c.Entries[i].Term, c.commands[i])
		}
	}
}

// origin returns the request behind an entry that a server sends.
func (m *matcher) origin(lane, index, term int, command []string) uint64 {
	key := fmt.Sprintf("%d/%d/%q", index, term, command)
	call, seen := m.seen[key]
	if seen {
		return call
	}
	best, most := -1, 0
	for i, r := range m.open[lane] {
		if n := shared(r.values, command); n > most {
			best, most = i, n
		}
	}
	if best >= 0 {
		call = m.open[lane][best].call
		m.open[lane] = slices.Delete(m.open[lane], best, best+1)
	}
	m.seen[key] = call
	return call
}

// shared counts the values of a request that a command has. A command without one of the
// request's strings, or without any string and one of the numbers, has another origin.
func shared(request, command []string) (n int) {
	isString := func(v string) bool { return strings.HasPrefix(v, `"`) }
	strict := !slices.ContainsFunc(request, isString)
	for _, v := range request {
		switch {
		case slices.Contains(command, v):
			n++
		case strict || isString(v):
			return 0
		}
	}
	return n
}

// commandValues returns the values of an entry, except for its place.
func commandValues(entry any) (all []string) {
	fields, ok := entry.(labgob.Struct)
	if !ok {
		return values(nil, entry)
	}
	for _, f := range fields {
		if name := strings.ToLower(f.Name); name != "term" && name != "index" {
			all = values(all, f.Value)
		}
	}
	return all
}

// values appends the strings and numbers in a value that are not zero.
func values(all []string, v any) []string {
	switch v := v.(type) {
	case labgob.Named:
		return values(all, v.Value)
	case labgob.Struct:
		for _, f := range v {
			all = values(all, f.Value)
		}
	case labgob.Map:
		for _, p := range v {
			all = values(values(all, p.Key), p.Value)
		}
	case []any:
		for _, e := range v {
			all = values(all, e)
		}
	case string:
		if v != "" {
			all = append(all, fmt.Sprintf("%q", v))
		}
	case []byte:
		if inner := decode(v); !isA[[]byte](inner) {
			return values(all, inner)
		}
		all = append(all, fmt.Sprintf("%q", v))
	case bool:
	default:
		if !isZero(v) {
			all = append(all, fmt.Sprint(v))
		}
	}
	return all
}
