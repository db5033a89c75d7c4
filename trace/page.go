package trace

import (
	"bufio"
	"embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

//go:embed page
var pageFiles embed.FS

// WritePage writes a recording as one HTML page, which needs no other file and no network.
// The page shows what broke, a space-time diagram, the state of each server at any moment,
// and what an event could have known. WritePage shortens long texts, so that the page stays
// below 2 MB for each 10,000 messages.
func WritePage(w io.Writer, r *Recording) error {
	data, err := json.Marshal(newPage(r))
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	rest := pageFile("page.html")
	for rest != "" {
		text, after, found := strings.Cut(rest, "{{")
		out.WriteString(text)
		if !found {
			break
		}
		name, tail, _ := strings.Cut(after, "}}")
		if rest = tail; name == "data" {
			out.Write(data) // json.Marshal escapes <, so no text can end the script
		} else {
			out.WriteString(pageFile(name))
		}
	}
	return out.Flush()
}

func pageFile(name string) string {
	content, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic(err) // the file is embedded
	}
	return string(content)
}

// WritePageFile writes the page of a recording to a file.
func WritePageFile(path string, r *Recording) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := WritePage(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// pageData is the data of the page's scripts.
type pageData struct {
	Test     string      `json:"test"`
	Repeat   string      `json:"repeat"`
	Omitted  int         `json:"omitted"`
	Untold   int         `json:"untold"` // lives that are left out
	Lanes    []Lane      `json:"lanes"`
	Texts    []string    `json:"texts"`
	Names    [][2]string `json:"names"` // of messages, with their type
	Events   rows        `json:"events"`
	States   rows        `json:"states"`
	Lives    rows        `json:"lives"`
	Findings []Finding   `json:"findings"`
}

// rows are packed, because the digits of JSON take most of a large page.
type rows [][]int64

// MarshalText writes the length of each row and its numbers as varints, in base64.
func (r rows) MarshalText() ([]byte, error) {
	var packed []byte
	for _, row := range r {
		packed = binary.AppendUvarint(packed, uint64(len(row)))
		for _, n := range row {
			packed = binary.AppendVarint(packed, n)
		}
	}
	return base64.StdEncoding.AppendEncode(nil, packed), nil
}

// A pageBuilder stores each text once.
type pageBuilder struct {
	pageData
	run      *Recording
	texts    map[string]int
	names    map[string]int
	messages map[uint64]int64
	quiet    map[uint64]bool // calls that are heartbeats
	spare    int             // bytes left for texts
	now      int64           // the time of the event before
}

// Bounds of the page's texts and of its lives, for each event, and for a small recording.
const (
	bytesPerEvent = 30
	minBytes      = 400_000
	shortText     = 60
	bytesPerCell  = 3 // of a row in base64
)

func newPage(r *Recording) *pageData {
	b := &pageBuilder{run: r, texts: map[string]int{"": 0}, names: map[string]int{}, messages: map[uint64]int64{}, quiet: map[uint64]bool{}}
	b.Test, b.Repeat, b.Omitted, b.Lanes = r.Test, r.Repeat, r.Omitted, r.Lanes
	b.Texts, b.Names, b.Events, b.States = []string{""}, [][2]string{}, make(rows, len(r.Events)), rows{}
	if b.Findings = Explain(r); b.Findings == nil {
		b.Findings = []Finding{}
	}
	b.spare = max(minBytes, bytesPerEvent*len(r.Events))
	b.tell(Lives(r))
	b.spare = max(minBytes, bytesPerEvent*len(r.Events))
	t := newTracker(r)
	before := make([]state, len(r.Lanes))
	for i := range r.Events {
		t.next(i)
		b.Events[i] = b.event(&r.Events[i])
		for lane, s := range t.servers { // few, and most events change one
			if r.Lanes[lane].Kind == Server && (s.state != before[lane] || i == 0) {
				b.States = append(b.States, changes(i, lane, before[lane], s.state))
				before[lane] = s.state
			}
		}
	}
	return &b.pageData
}

// tell adds lives within the bound. The lives of events in the findings come first, and then the
// newest lives. A message of a busy group carries hundreds of entries, each with a life.
func (b *pageBuilder) tell(lives []Life) {
	proof := make(map[int]bool)
	for _, f := range b.Findings {
		for _, s := range f.Steps {
			proof[s.Event] = true
		}
	}
	proves := func(l Life) int {
		if slices.ContainsFunc(l.Steps, func(s Step) bool { return proof[s.Event] }) {
			return 1
		}
		return 0
	}
	order := make([]int, len(lives))
	for i := range order {
		order[i] = len(lives) - 1 - i
	}
	slices.SortStableFunc(order, func(x, y int) int { return proves(lives[y]) - proves(lives[x]) })
	told := make(rows, len(lives))
	for k, i := range order {
		if b.spare < 0 {
			b.Untold = len(order) - k
			break
		}
		told[i] = b.life(lives[i])
		b.spare -= bytesPerCell * len(told[i])
	}
	b.Lives = slices.DeleteFunc(told, func(row []int64) bool { return row == nil })
}

// life returns the text of a life, the number of its entries with the index, the term and
// whether a commit was seen, and for each step the distance to the event before and the
// text. The text of a life is left out if the first event has the command alone.
func (b *pageBuilder) life(l Life) []int64 {
	row := []int64{0, int64(len(l.Entries))}
	if len(b.run.Events[l.Steps[0].Event].Entries) > 1 {
		row[0] = b.text(l.Command)
	}
	for _, e := range l.Entries {
		committed := int64(0)
		if e.Committed {
			committed = 1
		}
		row = append(row, int64(e.Index), int64(e.Term), committed)
	}
	before := 0
	for _, s := range l.Steps {
		row = append(row, int64(s.Event-before), b.text(s.Text))
		before = s.Event
	}
	return row
}

// changes returns an event, a server, and the numbers of the state that the event changes,
// each with its place.
func changes(event, lane int, before, after state) []int64 {
	row := []int64{int64(event), int64(lane)}
	was := before.numbers()
	for k, n := range after.numbers() {
		if n != was[k] {
			row = append(row, int64(k), int64(n))
		}
	}
	return row
}

func (s state) numbers() [9]int {
	return [9]int{int(s.role), s.term, s.vote, s.last, s.lastTrm, s.commit, s.applied, s.snap, s.answered}
}

// event returns the time in microseconds since the event before, the kind, the lane, the
// peer, the message, the name, the flags, the text, the label and the term.
func (b *pageBuilder) event(e *Event) []int64 {
	flags := int64(0) // as Flag in model.js
	for k, is := range []bool{e.Reply, e.Copy, e.Leads, b.isQuiet(e)} {
		if is {
			flags |= 1 << k
		}
	}
	now := e.Time.Microseconds()
	row := []int64{now - b.now, int64(e.Kind), int64(e.Lane), 0, 0, 0, flags, 0, 0, int64(e.Term)}
	b.now = now
	text := e.Text
	if e.Kind <= Lost {
		_, sent := b.messages[e.Message]
		row[3], row[4], row[5] = int64(e.Peer), b.number(e.Message), b.name(e.Name)
		if term, ok := e.field(FieldTerm); ok {
			row[9] = int64(term)
		}
		if sent { // the page has the event Sent
			row[9] = 0
		} else {
			row[8] = b.text(b.label(e))
		}
		if e.Kind == Delivered {
			text = "" // the same as that of the event Sent
		}
	}
	if e.Index > 0 && e.Kind != Sent {
		text = fmt.Sprintf("%d: %s", e.Index, text)
	}
	row[7] = b.text(text)
	for len(row) > 5 && row[len(row)-1] == 0 {
		row = row[:len(row)-1]
	}
	return row
}

// isQuiet reports whether a message is a heartbeat, or the acceptance of one.
func (b *pageBuilder) isQuiet(e *Event) bool {
	if e.Kind > Lost {
		return false
	}
	if !e.Reply {
		if _, ok := e.field(FieldPrevLogIndex); ok && e.Fields[FieldEntries] == 0 {
			b.quiet[e.Call] = true
		}
		return b.quiet[e.Call]
	}
	return b.quiet[e.Call] && (e.is(FieldSuccess) || e.Kind == Lost)
}

// number renumbers messages and calls, to save digits.
func (b *pageBuilder) number(id uint64) int64 {
	n, ok := b.messages[id]
	if !ok {
		n = int64(len(b.messages)) + 1
		b.messages[id] = n
	}
	return n
}

func (b *pageBuilder) name(name string) int64 {
	i, ok := b.names[name]
	if !ok {
		kind := "other"
		switch b.run.RPC(name) {
		case "RequestVote":
			kind = "vote"
		case "AppendEntries":
			kind = "append"
		case "InstallSnapshot":
			kind = "snapshot"
		}
		i = len(b.Names)
		b.names[name] = i
		b.Names = append(b.Names, [2]string{name, kind})
	}
	return int64(i)
}

// text returns the index of a text. Beyond the bound, texts are cut.
func (b *pageBuilder) text(s string) int64 {
	if b.spare < 0 && len(s) > shortText {
		end := shortText
		for !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "…"
	}
	i, ok := b.texts[s]
	if !ok {
		i = len(b.Texts)
		b.texts[s] = i
		b.Texts = append(b.Texts, s)
		b.spare -= len(s) + 3
	}
	return int64(i)
}

// label describes a message in a few letters for its arrow.
func (b *pageBuilder) label(e *Event) string {
	term := ""
	if t, ok := e.field(FieldTerm); ok {
		term = fmt.Sprintf(" T%d", t)
	}
	kind := b.run.RPC(e.Name)
	if kind != "" && e.is(FieldUnknown) {
		if e.Reply {
			kind += " reply"
		}
		return kind + term + ", fields not recognized"
	}
	switch kind {
	case "RequestVote":
		return b.voteLabel(e, term)
	case "AppendEntries":
		return appendLabel(e, term)
	case "InstallSnapshot":
		if last, ok := e.field(FieldLastIndex); ok && !e.Reply {
			return fmt.Sprintf("snapshot%s ..%d", term, last)
		}
		return "snapshot" + term + " reply"
	}
	method := e.Name[strings.LastIndexByte(e.Name, '.')+1:]
	if e.Reply {
		method += " reply"
	}
	return method
}

func (b *pageBuilder) voteLabel(e *Event, term string) string {
	what := "vote"
	if e.is(FieldPreVote) {
		what = "pre-vote"
	}
	if !e.Reply {
		return fmt.Sprintf("%s?%s log %d/T%d", what, term, e.Fields[FieldLastLogIndex], e.Fields[FieldLastLogTerm])
	}
	if e.is(FieldVoteGranted) {
		return "YES" + term
	}
	return "no" + term
}

func appendLabel(e *Event, term string) string {
	if e.Reply {
		if e.is(FieldSuccess) {
			return "ok"
		}
		return "refused" + term
	}
	prev := e.Fields[FieldPrevLogIndex]
	switch n := e.Fields[FieldEntries]; n {
	case 0:
		return "beat" + term
	case 1:
		return fmt.Sprintf("append%s [%d]", term, prev+1)
	default:
		return fmt.Sprintf("append%s [%d..%d]", term, prev+1, prev+n)
	}
}
