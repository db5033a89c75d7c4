package tidy

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Limits of comments and pages, for each package and page. The models of the field
// lie at 0.21 to 0.43 pronouns a sentence, and 2 to 12 marks in 100 sentences.
const (
	maxPronouns = 0.40 // it, that, which, what and who, a sentence
	maxMarks    = 12.0 // colons and semicolons, in 100 sentences
	// fewSentences is the length of a text that is too short to measure.
	fewSentences = 8
)

var (
	pronoun  = regexp.MustCompile(`(?i)\b(it|its|that|which|what|whatever|who|whom|whose|whoever)\b`)
	mark     = regexp.MustCompile(`[:;](\s|$)`)
	notWords = regexp.MustCompile("`[^`]*`|https?://\\S+|\\[[^\\]]*\\]\\([^)]*\\)")
	listItem = regexp.MustCompile(`\n\s*([-*0-9])`)
	sentence = regexp.MustCompile("([.!?])\\s+([A-Z`\\[(])")
	comment  = regexp.MustCompile(`^\s*//( ?)(.*)`)
)

// prose counts the sentences of a text, and their pronouns and marks.
type prose struct{ sentences, pronouns, marks int }

func (p *prose) add(text string) {
	text = notWords.ReplaceAllString(text, "X")
	text = listItem.ReplaceAllString(text, "\n\n$1")
	for _, paragraph := range regexp.MustCompile(`\n\s*\n`).Split(text, -1) {
		line := strings.Join(strings.Fields(paragraph), " ")
		for _, s := range strings.Split(sentence.ReplaceAllString(line, "$1\x00$2"), "\x00") {
			if len(strings.Fields(s)) < 4 {
				continue
			}
			p.sentences++
			p.pronouns += len(pronoun.FindAllString(s, -1))
			p.marks += len(mark.FindAllString(s, -1))
		}
	}
}

func (p *prose) over() bool {
	n := float64(p.sentences)
	return p.sentences >= fewSentences && (float64(p.pronouns)/n > maxPronouns || 100*float64(p.marks)/n > maxMarks)
}

// comments returns the text of a Go file's comments, without code in them.
func comments(src string) string {
	var out strings.Builder
	for _, line := range strings.Split(src, "\n") {
		m := comment.FindStringSubmatch(line)
		if m != nil && !strings.HasPrefix(m[2], "go:") && !strings.HasPrefix(m[2], "\t") && !strings.HasPrefix(m[2], "  ") && !strings.HasPrefix(m[2], "+build") {
			out.WriteString(m[2])
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// page returns the text of a Markdown page, without code, tables and headings.
func page(src string) string {
	var out strings.Builder
	fenced := false
	for _, line := range strings.Split(src, "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced = !fenced
			continue
		case fenced || strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "\t"):
		default:
			out.WriteString(line)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// Comments of each package, and each page, are plain English by measure. Tests are
// left out.
func TestProse(t *testing.T) {
	texts := make(map[string]*prose)
	add := func(name, text string) {
		if texts[name] == nil {
			texts[name] = new(prose)
		}
		texts[name].add(text)
	}
	walkGo(t, func(path string, src []byte) {
		if !strings.HasSuffix(path, "_test.go") {
			add(filepath.ToSlash(filepath.Dir(path)), comments(string(src)))
		}
	})
	for name, src := range pages(t) {
		add(name, page(src))
	}
	require.Greater(t, len(texts), 40, "packages and pages")
	for name, p := range texts {
		n := float64(max(p.sentences, 1))
		if p.over() {
			t.Errorf("%s: %.2f pronouns a sentence and %.0f marks in 100; the limits are %.2f and %.0f (CONTRIBUTING.md, Prose)",
				name, float64(p.pronouns)/n, 100*float64(p.marks)/n, maxPronouns, maxMarks)
		}
	}
}

// The measure is seen to count.
func TestProseCounts(t *testing.T) {
	var p prose
	p.add(page("# A heading: it\n\nThe leader sends `it` to all: that, which it has. Short it.\n\n    it is code\n\n- An item has five words\n- What it is, it is; who knows?\n\n| it | that |\n\n```\nit\n```\n"))
	require.Equal(t, prose{sentences: 3, pronouns: 7, marks: 2}, p)
	p = prose{}
	p.add(comments("package p\n\n// F sends what it has to the leader. The leader\n// answers at once.\n//\n//\tit := code\n//go:build it\nfunc F() { it() } // a note: that is it\n"))
	require.Equal(t, prose{sentences: 2, pronouns: 2}, p)
	require.True(t, (&prose{sentences: 10, pronouns: 5}).over())
	require.True(t, (&prose{sentences: 10, marks: 2}).over())
	require.False(t, (&prose{sentences: 10, pronouns: 4, marks: 1}).over())
	require.False(t, (&prose{sentences: 2, pronouns: 2}).over())
}
