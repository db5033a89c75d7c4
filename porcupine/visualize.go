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

// Visualize writes a history as one HTML page that needs nothing else and no
// network: the operations by client, the linearizations to step through, and, of a history that
// is illegal, the first operation that cannot be placed, why, and the smallest
// part of the history that shows it (see [Explain]; looking for it takes at most 2 s). The
// info is that of a verbose check.
//
// Texts that the model's functions return are shortened where the page would
// become larger than about 200 bytes for each operation.
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
		panic(err) // it is built in
	}
	return string(content)
}

// VisualizePath is [Visualize] to the file at path, which it creates or overwrites.
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

// page is what visualize/data.js reads.
type page struct {
	Base        int64            `json:"base,string"` // times count from here
	Texts       []string         `json:"texts"`       // texts are given by their places here
	Parts       []pagePart       `json:"parts"`
	Annotations []pageAnnotation `json:"annotations"`
}

type pagePart struct {
	Result CheckResult `json:"result"`
	// Ops holds client, call, return (-1: pending), description and metadata (-1: none).
	Ops      [][5]int64    `json:"ops"`
	Partials []pagePartial `json:"partials"`
	Initial  int           `json:"initial"` // the initial state
	Reason   *pageReason   `json:"reason,omitempty"`
}

// pagePartial is a linearization: the first Same steps are those of the first
// one, the others follow.
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

// pageBuilder collects the texts of a page, each once.
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

// firstTime is the least time in the history.
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

// since is a time counted from the base, or the greatest if it is too far from it to be told.
func (b *pageBuilder) since(t int64) int64 {
	if t-b.Base < 0 {
		return math.MaxInt64
	}
	return t - b.Base
}

// text returns a text's place.
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
	spare := 2*len(p.ops) + 1000 // steps that further linearizations may add
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

// partial replays a linearization in order to describe its states.
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

// maxReplayed bounds the steps made to describe the states of linearizations after the first.
const maxReplayed = 1_000_000

const (
	textBytes    = 110     // of texts, for each operation
	minTextBytes = 1 << 20 // of texts, however few the operations
	shortest     = 24      // to which a text is shortened at most
)

// shorten cuts pieces out of the middle of the longest texts until they are
// no longer than limit together, if it can.
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
