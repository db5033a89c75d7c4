package site

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Bug is a planted bug of the core, from the tables of command mutants.
type Bug struct {
	Name   string `json:"name"`
	Why    string `json:"why"`
	File   string `json:"file"`
	Edits  []Edit `json:"edits"`
	Chosen bool   `json:"chosen"` // shows in a short run on the page
}

// Edit replaces Old by New in the bug's file.
type Edit struct {
	Old string `json:"old"`
	New string `json:"new"`
	all bool
}

// ErrBug reports a bug that does not fit the source of the core.
var ErrBug = errors.New("a bug does not fit the core")

// chosen are the bugs that a visitor sees fall within a few steps, in the order of the page.
var chosen = []string{
	"commit-by-counting", "double-vote", "vote-forgotten", "any-log-wins", "longer-log-wins", "minority-commits",
	"delayed-append-truncates", "no-consistency-check", "pre-vote-is-vote", "old-votes-count", "old-leader-accepted",
	"joint-elects-by-new-majority", "joint-commits-by-new-majority", "reads-without-quorum", "read-before-commit-in-term",
	"follower-votes-against-its-leader",
}

// tables are the files of command mutants with bugs of the core.
var tables = []string{"mutants/raft.go", "mutants/core.go"}

// coreDir is the directory of the core in the sources.
const coreDir = "raft/core"

// Bugs returns the bugs of the core, the chosen ones first. Package main cannot be imported,
// so Bugs reads the tables as syntax.
func Bugs(sources fs.FS) ([]Bug, error) {
	var bugs []Bug
	for _, table := range tables {
		src, err := fs.ReadFile(sources, table)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), table, src, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if b := readBug(lit); b.Name != "" {
				if path.Dir(b.File) == coreDir {
					bugs = append(bugs, b)
				}
				return false
			}
			return true
		})
	}
	for _, name := range chosen {
		if !slices.ContainsFunc(bugs, func(b Bug) bool { return b.Name == name }) {
			return nil, fmt.Errorf("%w: %s is in no table", ErrBug, name)
		}
	}
	slices.SortStableFunc(bugs, func(a, b Bug) int { return rank(a) - rank(b) })
	return bugs, nil
}

func rank(b Bug) int {
	if i := slices.Index(chosen, b.Name); i >= 0 {
		return i
	}
	return len(chosen)
}

// readBug reads an element of a table. Anything else has no name.
func readBug(lit *ast.CompositeLit) Bug {
	var b Bug
	first := readEdit(lit)
	for key, value := range fieldsOf(lit) {
		switch key {
		case "name":
			b.Name = text(value)
		case "why":
			b.Why = text(value)
		case "file":
			b.File = text(value)
		case "also":
			if also, ok := value.(*ast.CompositeLit); ok {
				for _, e := range also.Elts {
					if one, ok := e.(*ast.CompositeLit); ok {
						b.Edits = append(b.Edits, readEdit(one))
					}
				}
			}
		}
	}
	b.Edits = append([]Edit{first}, b.Edits...)
	b.Chosen = slices.Contains(chosen, b.Name)
	return b
}

func readEdit(lit *ast.CompositeLit) Edit {
	var e Edit
	for key, value := range fieldsOf(lit) {
		switch key {
		case "old":
			e.Old = text(value)
		case "new":
			e.New = text(value)
		case "all":
			e.all = true
		}
	}
	return e
}

func fieldsOf(lit *ast.CompositeLit) map[string]ast.Expr {
	fields := map[string]ast.Expr{}
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if key, ok := kv.Key.(*ast.Ident); ok {
				fields[key.Name] = kv.Value
			}
		}
	}
	return fields
}

// text returns the value of a string literal.
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value)
	return s
}

// apply returns the source with the bug.
func (b Bug) apply(src string) (string, error) {
	for _, e := range b.Edits {
		n := strings.Count(src, e.Old)
		if n != 1 && !(e.all && n > 0) {
			return "", fmt.Errorf("%w: %s: %s has the text to replace %d times", ErrBug, b.Name, b.File, n)
		}
		src = strings.ReplaceAll(src, e.Old, e.New)
	}
	return src, nil
}
