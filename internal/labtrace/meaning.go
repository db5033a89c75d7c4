package labtrace

import (
	"slices"
	"strings"

	"raftlab/labgob"
	"raftlab/trace"
)

// notRecognized begins the text of a message of Raft whose fields have no known meaning.
const notRecognized = "fields not recognized"

// A member is a field of a message, or a field of a struct in the message. Its name has small
// letters, and begins with the name of the struct.
type member struct {
	name  string
	value any
}

// members returns the fields of a message.
func members(prefix string, body labgob.Struct) (all []member) {
	for _, f := range body {
		name := prefix + strings.ToLower(strings.ReplaceAll(f.Name, "_", ""))
		if inner, ok := f.Value.(labgob.Struct); ok {
			all = append(all, members(name, inner)...)
			continue
		}
		all = append(all, member{name, f.Value})
	}
	return all
}

// A meaning is a way to find a number of the paper in the fields of a message.
type meaning struct {
	field trace.Field
	flag  bool // a bool
	paper []string
	// like recognizes other names. A message in which several fields are alike has no such number.
	like func(name string) bool
}

// with recognizes names that have one of some words and another word.
func with(word string, some ...string) func(string) bool {
	return func(name string) bool {
		return strings.Contains(name, word) && slices.ContainsFunc(some, func(s string) bool { return strings.Contains(name, s) })
	}
}

// agreeing recognizes the names of a bool that is true if a server agrees. Other words may mean
// the opposite.
func agreeing(words ...string) func(string) bool {
	return func(name string) bool {
		says := func(s string) bool { return strings.Contains(name, s) }
		return slices.ContainsFunc(words, says) && !slices.ContainsFunc([]string{"not", "den", "refus", "reject", "mis", "fail"}, says)
	}
}

var (
	termOf    = meaning{field: trace.FieldTerm, paper: []string{"term", "currentterm"}, like: func(n string) bool { return n == "candidateterm" || n == "leaderterm" }}
	requestOf = map[string][]meaning{
		"RequestVote": {termOf,
			{field: trace.FieldLastLogIndex, paper: []string{"lastlogindex"}, like: with("index", "last", "log")},
			{field: trace.FieldLastLogTerm, paper: []string{"lastlogterm"}, like: with("term", "last", "log")},
			{field: trace.FieldPreVote, flag: true, paper: []string{"prevote"}, like: with("pre", "pre")}},
		"AppendEntries": {termOf,
			{field: trace.FieldPrevLogIndex, paper: []string{"prevlogindex"}, like: func(n string) bool { return n == "prev" || with("index", "prev")(n) }},
			{field: trace.FieldPrevLogTerm, paper: []string{"prevlogterm"}, like: with("term", "prev")},
			{field: trace.FieldLeaderCommit, paper: []string{"leadercommit", "leadercommitindex"}, like: func(n string) bool { return strings.Contains(n, "commit") && !strings.Contains(n, "term") }}},
		"InstallSnapshot": {termOf,
			{field: trace.FieldLastIndex, paper: []string{"lastincludedindex"}, like: with("index", "last", "included", "snap")},
			{field: trace.FieldLastTerm, paper: []string{"lastincludedterm"}, like: with("term", "last", "included", "snap")}},
	}
	replyOf = map[string][]meaning{
		"RequestVote":     {termOf, {field: trace.FieldVoteGranted, flag: true, paper: []string{"votegranted"}, like: agreeing("grant", "vote", "yes", "ok", "accept", "success", "agree")}},
		"AppendEntries":   {termOf, {field: trace.FieldSuccess, flag: true, paper: []string{"success"}, like: agreeing("success", "ok", "accept", "match", "yes", "agree")}},
		"InstallSnapshot": {termOf},
	}
	// needed holds the numbers without which a message is not understood.
	needed = map[string][]trace.Field{
		"RequestVote": {trace.FieldTerm, trace.FieldLastLogIndex, trace.FieldLastLogTerm}, "RequestVote reply": {trace.FieldVoteGranted},
		"AppendEntries": {trace.FieldTerm, trace.FieldPrevLogIndex, trace.FieldEntries}, "AppendEntries reply": {trace.FieldSuccess},
		"InstallSnapshot": {trace.FieldTerm, trace.FieldLastIndex},
	}
)

// of returns the field with the meaning.
func (m meaning) of(all []member, learned string) (n int, ok bool) {
	fits := func(f member) bool {
		_, isBool := f.value.(bool)
		_, isNumber := number(f.value)
		return isNumber && isBool == m.flag
	}
	for _, f := range all {
		if fits(f) && (slices.Contains(m.paper, f.name) || learned != "" && f.name == learned) {
			return number(f.value)
		}
	}
	found := slices.DeleteFunc(slices.Clone(all), func(f member) bool { return !fits(f) || !m.like(f.name) })
	if len(found) != 1 {
		return 0, false
	}
	return number(found[0].value)
}

// understand finds the numbers of the paper and the entries in a message of Raft. A message
// without a number that its meaning needs is marked as not understood.
func (d *describer) understand(body labgob.Struct, reply bool) {
	meanings, name := requestOf[d.kind], d.kind
	if reply {
		meanings, name = replyOf[d.kind], d.kind+" reply"
	}
	if meanings == nil {
		return
	}
	all := members("", body)
	for _, m := range meanings {
		learned := ""
		if d.rpcs != nil && m.field == trace.FieldVoteGranted {
			learned = strings.ToLower(strings.ReplaceAll(d.rpcs.Granted, "_", ""))
		} else if d.rpcs != nil && m.field == trace.FieldSuccess {
			learned = strings.ToLower(strings.ReplaceAll(d.rpcs.Success, "_", ""))
		}
		if n, ok := m.of(all, learned); ok {
			d.out.Fields[m.field] = n
		}
	}
	d.out.Term = d.out.Fields[trace.FieldTerm]
	if d.kind == "AppendEntries" && !reply {
		if list, ok := entriesOf(all); ok {
			d.entries(list)
		}
	}
	for _, f := range needed[name] {
		if _, ok := d.out.Fields[f]; ok {
			continue
		}
		term, known := d.out.Fields[trace.FieldTerm]
		d.out.Fields, d.out.Entries, d.out.commands = map[trace.Field]int{trace.FieldUnknown: 1}, nil, nil
		if known {
			d.out.Fields[trace.FieldTerm] = term
		}
		return
	}
}

// isEntries recognizes the name of a list of entries.
func isEntries(name string) bool {
	return name == "log" || strings.Contains(name, "entr") || strings.Contains(name, "record")
}

func isCommands(name string) bool {
	return strings.Contains(name, "command") || strings.Contains(name, "cmd") || name == "ops"
}

// entriesOf returns the entries of an AppendEntries: a list of structs with a term, the bytes of
// such a list, or a list of terms beside a list of commands.
func entriesOf(all []member) (list []any, ok bool) {
	var terms, commands *member
	for i, f := range all {
		data, isBytes := f.value.([]byte)
		switch l, isList := f.value.([]any); {
		case isList && len(l) > 0 && !slices.ContainsFunc(l, func(v any) bool { return !hasTerm(v) }):
			return l, true
		case strings.Contains(f.name, "terms") && (isList || f.value == nil):
			terms = &all[i]
		case isCommands(f.name) && (isList || f.value == nil):
			commands = &all[i]
		case !isEntries(f.name):
		case f.value == nil || isList && len(l) == 0 || isBytes && len(data) == 0:
			return nil, true
		case isBytes:
			if l, isList := decode(data).([]any); isList && !slices.ContainsFunc(l, func(v any) bool { return !hasTerm(v) }) {
				return l, true
			}
			return nil, false
		}
	}
	if terms == nil || commands == nil {
		return nil, false
	}
	t, _ := terms.value.([]any)
	c, _ := commands.value.([]any)
	if len(t) != len(c) {
		return nil, false
	}
	for i := range t {
		if _, ok := number(t[i]); !ok {
			return nil, false
		}
		list = append(list, labgob.Struct{{Name: "Term", Value: t[i]}, {Name: "Command", Value: c[i]}})
	}
	return list, true
}

// hasTerm reports whether a value is an entry with a term.
func hasTerm(v any) bool {
	fields, ok := v.(labgob.Struct)
	return ok && slices.ContainsFunc(fields, func(f labgob.Field) bool {
		_, ok := number(f.Value)
		return ok && strings.EqualFold(f.Name, "term")
	})
}
