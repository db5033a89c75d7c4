package course

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A mark is a place of the skeletons that differs between students. The student's id and
// the secret of the class decide the choice. A student has no reason to change a mark, so
// the marks of a copied file are those of its owner.
type mark interface {
	name() string
	pkg() string
	choices() int
	// plant changes the original text of a skeleton.
	plant(src string, choice int) string
	// find returns the choice in a package, or ok = false if there is none or more than
	// one.
	find(files []*ast.File) (choice int, ok bool)
}

// A nameMark is a name that a skeleton declares.
type nameMark struct {
	in    string
	names []string // the first is the original's
}

func (m nameMark) name() string { return "the name " + m.names[0] }
func (m nameMark) pkg() string  { return m.in }
func (m nameMark) choices() int { return len(m.names) }

// plant renames identifiers, and the first word of a comment, which is the name of the
// declaration below.
func (m nameMark) plant(src string, choice int) string {
	var s scanner.Scanner
	file := token.NewFileSet().AddFile("", -1, len(src))
	s.Init(file, []byte(src), nil, scanner.ScanComments)
	var b strings.Builder
	end := 0
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			break
		}
		at := file.Offset(pos)
		if tok == token.COMMENT {
			head := len("// ")
			if word, _, _ := strings.Cut(text[min(head, len(text)):], " "); word != m.names[0] {
				continue
			}
			at += head
		} else if tok != token.IDENT || text != m.names[0] {
			continue
		}
		b.WriteString(src[end:at] + m.names[choice])
		end = at + len(m.names[0])
	}
	return b.String() + src[end:]
}

func (m nameMark) find(files []*ast.File) (int, bool) {
	declared := declaredNames(files)
	found := -1
	for i, name := range m.names {
		if declared[name] {
			if found >= 0 {
				return 0, false
			}
			found = i
		}
	}
	return found, found >= 0
}

// declaredNames returns the names of functions, methods, types, fields, and of variables
// and constants outside of functions.
func declaredNames(files []*ast.File) map[string]bool {
	names := make(map[string]bool)
	add := func(ids []*ast.Ident) {
		for _, id := range ids {
			names[id.Name] = true
		}
	}
	for _, file := range files {
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				names[decl.Name.Name] = true
			case *ast.GenDecl:
				ast.Inspect(decl, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.TypeSpec:
						names[n.Name.Name] = true
						if s, ok := n.Type.(*ast.StructType); ok {
							for _, f := range s.Fields.List {
								add(f.Names)
							}
						}
					case *ast.ValueSpec:
						add(n.Names)
					}
					return true
				})
			}
		}
	}
	return names
}

// A spanMark is a number of milliseconds.
type spanMark struct {
	in, constant      string
	first, step, many int
}

func (m spanMark) name() string         { return "the value of " + m.constant }
func (m spanMark) pkg() string          { return m.in }
func (m spanMark) choices() int         { return m.many }
func (m spanMark) value(choice int) int { return m.first + m.step*choice }

func (m spanMark) plant(src string, choice int) string {
	re := regexp.MustCompile(`(\b` + m.constant + `\s*=\s*)\d+( \* time\.Millisecond)`)
	return re.ReplaceAllString(src, fmt.Sprintf("${1}%d${2}", m.value(choice)))
}

// find looks for the number with any name, because a name is the first thing that a copier
// changes.
func (m spanMark) find(files []*ast.File) (int, bool) {
	found := make(map[int]bool)
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			b, ok := n.(*ast.BinaryExpr)
			if !ok || b.Op != token.MUL {
				return true
			}
			for _, x := range []ast.Expr{b.X, b.Y} {
				if lit, ok := x.(*ast.BasicLit); ok && lit.Kind == token.INT {
					n, err := strconv.Atoi(lit.Value)
					if at := n - m.first; err == nil && at >= 0 && at%m.step == 0 && at/m.step < m.many {
						found[at/m.step] = true
					}
				}
			}
			return true
		})
	}
	for choice := range found {
		return choice, len(found) == 1
	}
	return 0, false
}

// An orderMark is the order of the fields of a struct.
type orderMark struct {
	in, typ string
	fields  []string // in the original's order
}

func (m orderMark) name() string { return "the order of the fields of " + m.typ }
func (m orderMark) pkg() string  { return m.in }

func (m orderMark) choices() int {
	n := 1
	for i := range m.fields {
		n *= i + 1
	}
	return n
}

// order returns the fields in the order of a choice.
func (m orderMark) order(choice int) []string {
	left := slices.Clone(m.fields)
	var order []string
	for n := len(left); n > 0; n-- {
		i := choice % n
		choice /= n
		order = append(order, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return order
}

func (m orderMark) plant(src string, choice int) string {
	head := "type " + m.typ + " struct {\n"
	before, rest, found := strings.Cut(src, head)
	if !found {
		return src
	}
	body, after, _ := strings.Cut(rest, "\n}")
	lines := make(map[string]string)
	var others []string
	for _, line := range strings.Split(body, "\n") {
		field, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if slices.Contains(m.fields, field) {
			lines[field] = line
		} else {
			others = append(others, line)
		}
	}
	var ordered []string
	for _, field := range m.order(choice) {
		ordered = append(ordered, lines[field])
	}
	return before + head + strings.Join(append(ordered, others...), "\n") + "\n}" + after
}

func (m orderMark) find(files []*ast.File) (int, bool) {
	var order []string
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != m.typ {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					for _, id := range f.Names {
						if slices.Contains(m.fields, id.Name) {
							order = append(order, id.Name)
						}
					}
				}
			}
			return false
		})
	}
	if len(order) != len(m.fields) {
		return 0, false
	}
	choice, radix := 0, 1
	left := slices.Clone(m.fields)
	for n := len(left); n > 0; n-- {
		i := slices.Index(left, order[len(m.fields)-n])
		if i < 0 {
			return 0, false
		}
		choice += radix * i
		radix *= n
		left = slices.Delete(left, i, i+1)
	}
	return choice, true
}

// marks are all marks of the skeletons.
var marks = []mark{
	spanMark{"raft", "heartbeatInterval", 90, 2, 16},
	spanMark{"raft", "electionTimeout", 300, 7, 16},
	nameMark{"raft", []string{"heartbeatInterval", "heartbeatPeriod", "beatInterval", "heartbeatEvery"}},
	nameMark{"raft", []string{"electionTimeout", "electionDelay", "leaderPatience", "minElectionTimeout"}},
	nameMark{"raft", []string{"tickInterval", "tickPeriod", "clockInterval", "wakeInterval"}},
	nameMark{"raft", []string{"Entry", "LogEntry", "Record", "LogRecord"}},
	nameMark{"raft", []string{"role", "standing", "rank", "position"}},
	nameMark{"raft", []string{"nobody", "noVote", "noCandidate", "voteFree"}},
	nameMark{"raft", []string{"committed", "commitCond", "applyCond", "commits"}},
	nameMark{"raft", []string{"stop", "quit", "closing", "ended"}},
	nameMark{"raft", []string{"ticker", "tickLoop", "clockLoop", "timekeeper"}},
	nameMark{"raft", []string{"applier", "applyLoop", "deliverer", "applyWorker"}},
	nameMark{"raft", []string{"readPersist", "loadState", "restoreState", "recoverState"}},
	orderMark{"raft", "RequestVoteArgs", []string{"Term", "CandidateID", "LastLogIndex", "LastLogTerm"}},
	orderMark{"raft", "AppendEntriesArgs", []string{"Term", "LeaderID", "PrevLogIndex", "PrevLogTerm", "Entries", "LeaderCommit"}},
	orderMark{"raft", "InstallSnapshotArgs", []string{"Term", "LeaderID", "LastIncludedIndex", "LastIncludedTerm", "Data"}},
	nameMark{"kvraft", []string{"OpArgs", "RequestArgs", "CommandArgs", "CallArgs"}},
	nameMark{"kvraft", []string{"OpReply", "RequestReply", "CommandReply", "CallReply"}},
	nameMark{"kvraft", []string{"operation", "request", "carryOut", "perform"}},
	spanMark{"kvraft", "retryPause", 15, 1, 16},
	orderMark{"kvraft", "OpArgs", []string{"Kind", "Key", "Value", "Client", "Seq"}},
	nameMark{"shardctrler", []string{"OpReply", "RequestReply", "CommandReply", "CallReply"}},
	nameMark{"shardctrler", []string{"operation", "request", "carryOut", "perform"}},
	orderMark{"shardctrler", "OpArgs", []string{"Kind", "Servers", "GIDs", "Shard", "GID", "Num", "Client", "Seq"}},
	nameMark{"shardkv", []string{"OpReply", "RequestReply", "CommandReply", "CallReply"}},
	nameMark{"shardkv", []string{"makeEnd", "endTo", "connect", "newEnd"}},
	spanMark{"shardkv", "retryPause", 25, 1, 16},
	orderMark{"shardkv", "OpArgs", []string{"Kind", "Key", "Value", "Client", "Seq"}},
}

// A mold makes the choices of a student.
type mold struct{ secret, student string }

// number returns a number that follows from the secret, the student and a purpose.
func (m mold) number(purpose string) uint64 {
	mac := hmac.New(sha256.New, []byte(m.secret))
	fmt.Fprintf(mac, "raftlab course %q %s", m.student, purpose)
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// choice returns the student's choice at a mark. Without a student, a handout has the
// original's choices.
func (m mold) choice(k mark) int {
	if m.student == "" {
		return 0
	}
	return int(m.number(k.pkg()+" "+k.name()) % uint64(k.choices()))
}

// code is a short text for the head of each file of a handout.
func (m mold) code() string {
	if m.student == "" {
		return ""
	}
	text := hex.EncodeToString(binary.BigEndian.AppendUint64(nil, m.number("code")))
	return strings.ToUpper(text[:4] + "-" + text[4:8] + "-" + text[8:12])
}

var codePattern = regexp.MustCompile(`\b[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}\b`)

// cast applies the student's choices to a skeleton of a package. Orders and numbers come
// before names, because they look for the original's names.
func (m mold) cast(pkg string, src []byte) []byte {
	text := string(src)
	for _, names := range []bool{false, true} {
		for _, k := range marks {
			if _, isName := k.(nameMark); k.pkg() == pkg && isName == names {
				text = k.plant(text, m.choice(k))
			}
		}
	}
	return []byte(text)
}

// words applies the student's names and numbers to the text of a lab. Only text between
// backquotes changes.
func (m mold) words(pkg string, text string) string {
	parts := strings.Split(text, "`")
	for i := 1; i < len(parts); i += 2 {
		for _, k := range marks {
			if n, isName := k.(nameMark); isName && n.in == pkg {
				parts[i] = regexp.MustCompile(`\b`+n.names[0]+`\b`).ReplaceAllString(parts[i], n.names[m.choice(n)])
			}
		}
	}
	return strings.Join(parts, "`")
}

// Evidence is what the marks of a submission say about a student.
type Evidence struct {
	Student string   `json:"student"`
	Agree   int      `json:"agree"` // marks with the student's choice
	Bits    float64  `json:"bits"`  // the smaller the chance of these, the more: 1 in 2^bits
	Code    bool     `json:"code"`  // the code of the student's handout is in a comment
	Marks   []string `json:"marks,omitempty"`
}

// A reading is the marks that a submission still has.
type reading struct {
	choices map[int]int // by index of the mark
	codes   map[string]bool
	lost    int // marks of the submitted packages that are gone or unclear
}

// read finds the marks in the files of a submission, by package.
func read(packages map[string][]*ast.File, sources map[string][]byte) reading {
	r := reading{choices: make(map[int]int), codes: make(map[string]bool)}
	for i, k := range marks {
		files := packages[k.pkg()]
		if len(files) == 0 {
			continue
		}
		m := k
		if o, ok := k.(orderMark); ok {
			m = o.renamed(files)
		}
		if choice, ok := m.find(files); ok {
			r.choices[i] = choice
		} else {
			r.lost++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		for _, code := range codePattern.FindAll(bytes.ToUpper(sources[name]), -1) {
			r.codes[string(code)] = true
		}
	}
	return r
}

// renamed returns the mark for the name that its type has in the files, because the name
// of a type may be a mark, too.
func (m orderMark) renamed(files []*ast.File) orderMark {
	declared := declaredNames(files)
	for _, k := range marks {
		if n, ok := k.(nameMark); ok && n.in == m.in && n.names[0] == m.typ {
			for _, name := range n.names {
				if declared[name] {
					m.typ = name
				}
			}
		}
	}
	return m
}

// evidence compares a reading with a student's choices.
func (r reading) evidence(m mold) Evidence {
	e := Evidence{Student: m.student, Code: r.codes[m.code()]}
	for i, k := range marks {
		if choice, ok := r.choices[i]; ok && choice == m.choice(k) {
			e.Agree++
			e.Bits += math.Log2(float64(k.choices()))
			e.Marks = append(e.Marks, k.pkg()+": "+k.name())
		}
	}
	return e
}

// parsed parses the Go files of a submission, by the name of the package. Tests do not
// count.
func parsed(sources map[string][]byte) map[string][]*ast.File {
	packages := make(map[string][]*ast.File)
	fset := token.NewFileSet()
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, _ := parser.ParseFile(fset, name, sources[name], parser.SkipObjectResolution)
		if file != nil && file.Name != nil {
			packages[file.Name.Name] = append(packages[file.Name.Name], file)
		}
	}
	return packages
}
