package porcupine

import (
	"bufio"
	"embed"
	"encoding/json"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

//go:embed visualize
var pageFiles embed.FS

// Visualize writes a history as one HTML page, which needs no other file and no network. The page
// shows the operations by client and lets the reader step through the linearizations. For an
// illegal history, the page also shows the result of [Explain], which takes up to 2 s. The info is
// the result of a verbose check.
//
// Visualize shortens long texts of the model's functions so that the page stays below about 200
// bytes for each operation.
func Visualize(model Model, info LinearizationInfo, output io.Writer) error {
	data, err := json.Marshal(newPage(model.withDefaults(), info))
	if err != nil {
		return err
	}
	w := bufio.NewWriter(output)
	rest := pageFile("page.html")
	for rest != "" {
		text, after, found := strings.Cut(rest, "{{")
		w.WriteString(text)
		if !found {
			break
		}
		name, tail, _ := strings.Cut(after, "}}")
		if rest = tail; name == "data" {
			w.Write(data) // json.Marshal escapes <, so no text can end the script
		} else {
			w.WriteString(pageFile(name))
		}
	}
	return w.Flush()
}

func pageFile(name string) string {
	content, err := pageFiles.ReadFile("visualize/" + name)
	if err != nil {
		panic(err) // the file is embedded
	}
	return string(content)
}

// VisualizePath creates or overwrites the file at path with the page of [Visualize].
func VisualizePath(model Model, info LinearizationInfo, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := Visualize(model, info, f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// page is the data for visualize/data.js.
type page struct {
	Base        int64            `json:"base,string"` // the zero of all times
	Texts       []string         `json:"texts"`       // the texts, referred to by index
	Parts       []pagePart       `json:"parts"`
	Annotations []pageAnnotation `json:"annotations"`
}

type pagePart struct {
	Result CheckResult `json:"result"`
	// Ops holds the client, call, return (-1 if pending), description and metadata (-1 if none) of
	// each operation.
	Ops      [][5]int64    `json:"ops"`
	Partials []pagePartial `json:"partials"`
	Initial  int           `json:"initial"` // the initial state
	Reason   *pageReason   `json:"reason,omitempty"`
}

// pagePartial is a linearization. The first Shared steps are those of the first linearization, and
// the others follow.
type pagePartial struct {
	Shared int   `json:"shared"`
	Ops    []int `json:"ops"`
	States []int `json:"states"`
}

type pageReason struct {
	Op       int           `json:"op"`
	Core     []int         `json:"core"`
	Text     string        `json:"text"`
	Possible []Possibility `json:"possible"`
}

type pageAnnotation struct {
	Client     int    `json:"client"`
	Tag        string `json:"tag"`
	Start      int64  `json:"start"`
	End        int64  `json:"end"`
	Text       string `json:"text"`
	Details    string `json:"details"`
	Color      string `json:"color"`
	Background string `json:"background"`
}

// pageBuilder stores each text of a page once.
type pageBuilder struct {
	page
	model Model
	index map[string]int
}

func newPage(model Model, info LinearizationInfo) *page {
	b := &pageBuilder{model: model, index: make(map[string]int)}
	b.Base = firstTime(info)
	b.Parts, b.Annotations = []pagePart{}, []pageAnnotation{}
	reasons := make(map[int]Explanation)
	for _, x := range Explain(model, info) {
		reasons[x.Partition] = x
	}
	operations := 0
	for i := range info.parts {
		part := b.part(&info.parts[i])
		if x, ok := reasons[i]; ok {
			part.Reason = &pageReason{Op: x.Operation, Core: x.Core, Text: x.Reason, Possible: x.Possible}
		}
		operations += len(part.Ops)
		b.Parts = append(b.Parts, part)
	}
	for _, a := range info.annotations {
		b.Annotations = append(b.Annotations, pageAnnotation{a.ClientId, a.Tag, b.since(a.Start), b.since(a.End),
			a.Description, a.Details, a.TextColor, a.BackgroundColor})
	}
	shorten(b.Texts, max(minTextBytes, textBytes*operations))
	return &b.page
}

// firstTime returns the earliest time in the history.
func firstTime(info LinearizationInfo) int64 {
	var times []int64
	for _, p := range info.parts {
		if len(p.calls) > 0 {
			times = append(times, p.ops[p.calls[0]].Call)
		}
	}
	for _, a := range info.annotations {
		times = append(times, a.Start)
	}
	if len(times) == 0 {
		return 0
	}
	return slices.Min(times)
}

// since returns the time after the base, or the greatest time if the difference overflows.
func (b *pageBuilder) since(t int64) int64 {
	if t-b.Base < 0 {
		return math.MaxInt64
	}
	return t - b.Base
}

// text returns the index of a text.
func (b *pageBuilder) text(s string) int {
	place, ok := b.index[s]
	if !ok {
		place = len(b.Texts)
		b.index[s] = place
		b.Texts = append(b.Texts, s)
	}
	return place
}

func (b *pageBuilder) part(p *partInfo) pagePart {
	part := pagePart{Result: p.result, Ops: make([][5]int64, len(p.ops)), Initial: b.text(b.model.DescribeState(b.model.Init())),
		Partials: []pagePartial{}}
	for i := range p.ops {
		o := &p.ops[i]
		ret, metadata := int64(-1), int64(-1)
		if !o.pending() {
			ret = b.since(o.Return)
		}
		if text := b.model.DescribeOperationMetadata(o.Metadata); text != "" {
			metadata = int64(b.text(text))
		}
		part.Ops[i] = [5]int64{int64(o.ClientId), b.since(o.Call), ret, int64(b.text(b.model.describe(o))), metadata}
	}
	spare := 2*len(p.ops) + 1000 // the steps left for further linearizations
	for i, partial := range p.partials {
		if i*len(partial) > maxReplayed {
			break
		}
		shared := 0
		for i > 0 && shared < min(len(partial), len(p.partials[0])) && partial[shared] == p.partials[0][shared] {
			shared++
		}
		if spare -= len(partial) - shared; i > 0 && spare < 0 {
			break
		}
		part.Partials = append(part.Partials, b.partial(p, partial, shared))
	}
	return part
}

// partial replays a linearization to describe its states.
func (b *pageBuilder) partial(p *partInfo, ids []int, shared int) pagePartial {
	e := &explainer{model: &b.model, partInfo: p, budget: unlimited()}
	result := pagePartial{Shared: shared, Ops: ids[shared:], States: []int{}}
	n := 0
	e.replay(ids, func(_ int, _, after any) {
		if n >= shared {
			result.States = append(result.States, b.text(b.model.DescribeState(after)))
		}
		n++
	})
	return result
}

// maxReplayed bounds the steps for the states of linearizations after the first.
const maxReplayed = 1_000_000

const (
	textBytes    = 110     // bytes of text for each operation
	minTextBytes = 1 << 20 // bytes of text for a small history
	shortest     = 24      // the shortest length of a shortened text
)

// shorten cuts pieces out of the middle of the longest texts until all texts together fit the
// limit, if possible.
func shorten(texts []string, limit int) {
	longest := 1 << 16
	for longest > shortest && total(texts, longest) > limit {
		longest = longest * 3 / 4
	}
	for i, text := range texts {
		if len(text) > longest {
			head, tail := longest*2/3, longest/3
			for head > 0 && !utf8.RuneStart(text[head]) {
				head--
			}
			for tail > 0 && !utf8.RuneStart(text[len(text)-tail]) {
				tail--
			}
			texts[i] = text[:head] + "…" + text[len(text)-tail:]
		}
	}
}

func total(texts []string, longest int) int {
	sum := 0
	for _, text := range texts {
		sum += min(len(text), longest) + 3 // two quotes and a comma
	}
	return sum
}
