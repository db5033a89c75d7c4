package grade

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// check returns the findings in a file, as "rule line what".
func check(t *testing.T, src string) []string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "x.go", "package raft\n"+src, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	var lines []string
	for _, f := range inspect(fset, []*ast.File{file}, func(name string) bool { return strings.HasPrefix(name, "6.5840/") }) {
		lines = append(lines, f.Rule+": "+f.What)
	}
	return lines
}

func TestFindings(t *testing.T) {
	for name, tt := range map[string]struct {
		src  string
		want []string
	}{
		"range":               {`import "io"; func f() { for _, io.EOF = range []error{nil} {} }`, []string{"assign: changes the variable io.EOF"}},
		"cleared":             {`import "unicode"; func f() { clear(unicode.Categories) }`, []string{"assign: changes the variable unicode.Categories", "global: uses unicode.Categories, a value that all servers share"}},
		"own network":         {`import "6.5840/labrpc"; func f() { labrpc.MakeNetwork() }`, []string{"global: uses 6.5840/labrpc.MakeNetwork, for a network beside the course's"}},
		"passed":              {`var m = map[int]int{}; func g(map[int]int) {}; func f() { g(m) }`, []string{"global: hands out the package-level variable m"}},
		"returned":            {`var m = new(int); func f() *int { return m }`, []string{"global: hands out the package-level variable m"}},
		"alias":               {`var m chan int; func f() { x := m; _ = x }`, []string{"global: hands out the package-level variable m"}},
		"in a literal":        {`var m = map[int]int{}; type s struct{ m map[int]int }; func f() { _ = &s{m: m} }`, []string{"global: hands out the package-level variable m"}},
		"in a list":           {`var m = map[int]int{}; func f() { _ = []map[int]int{m} }`, []string{"global: hands out the package-level variable m"}},
		"a field":             {`var g = struct{ m map[int]int }{}; func f() { m := g.m; m[1] = 2 }`, []string{"global: hands out the package-level variable g"}},
		"an element":          {`var g = []*int{nil}; func f() *int { return g[0] }`, []string{"global: hands out the package-level variable g"}},
		"an interface":        {`var g any = map[int]int{}; func f() { m := g.(map[int]int); m[1] = 2 }`, []string{"global: hands out the package-level variable g"}},
		"a struct":            {`type s struct{ m map[int]int }; func (x s) f() {}; var g s; func f() { x := g; s.f(g); x.f() }`, []string{"global: hands out the package-level variable g"}},
		"a loop":              {`var g = []map[int]int{{}}; func f() { for _, m := range g { m[1] = 2 } }`, []string{"global: hands out the package-level variable g"}},
		"method value":        {`type s struct{ n int }; func (x *s) add() { x.n++ }; var g = &s{}; func f() { add := g.add; add() }`, []string{"global: hands out the package-level variable g"}},
		"received":            {`var c = make(chan int); func f() { <-c; for range c {} }`, []string{"global: receives from the package-level variable c"}},
		"received once":       {`var c = make(chan int); func f() { <-c }`, []string{"global: receives from the package-level variable c"}},
		"an address":          {`var n int; func f() *int { return &n }`, []string{"global: takes the address of the package-level variable n"}},
		"sent":                {`var m = new(int); func f(c chan *int) { c <- m }`, []string{"global: hands out the package-level variable m"}},
		"closure":             {`var next = func() func() int { n := 0; return func() int { n++; return n } }(); func f() { next() }`, []string{"global: calls a function with a state in the package-level variable next"}},
		"closure of init":     {`var next func() int; func init() { n := 0; next = func() int { n++; return n } }; func f() { next() }`, []string{"global: calls a function with a state in the package-level variable next"}},
		"closures":            {`var fs = []func() int{func() func() int { n := 0; return func() int { n++; return n } }()}; func f() { fs[0]() }`, []string{"global: calls a function with a state in the package-level variable fs"}},
		"bound method":        {`type s struct{ n int }; func (x *s) add() { x.n++ }; var add = (&s{}).add; func f() { add() }`, []string{"global: calls a function with a state in the package-level variable add"}},
		"in a literal's body": {`var m = map[int]int{}; var put = func(k, v int) { m[k] = v }; func f() { put(1, 2) }`, []string{"global: changes the package-level variable m"}},
		"literal in init":     {`var m = map[int]int{}; var put func(); func init() { put = func() { m[1] = 2 } }`, []string{"global: changes the package-level variable m"}},
		"for other packages":  {`var M = map[int]int{}`, []string{"global: other packages reach the package-level variable M"}},
		"a writer for all":    {`import "log"; func f() { _ = log.Writer() }`, []string{"global: uses log.Writer, a value that all servers share"}},
		"a table for all":     {`import "unicode"; func f() { m := unicode.Categories; m["x"] = nil }`, []string{"global: uses unicode.Categories, a value that all servers share"}},
		"without a name":      {`import . "io"; func f() { EOF = nil }`, []string{"assign: changes the variable EOF of another package"}},
		"exit, no name":       {`import . "log"; func f() { Fatal(1) }`, []string{"exit: uses log.Fatal"}},
		"network, no name":    {`import . "6.5840/labrpc"; func f() { MakeNetwork() }`, []string{"global: uses 6.5840/labrpc.MakeNetwork, for a network beside the course's"}},
		"passed, a number":    {`var m = 5; func g(int) {}; func f() { g(m) }`, nil},
		"in a range":          {`var m int; func f() { for m = range 5 {} }`, []string{"global: changes the package-level variable m"}},
		"unsafe":              {`import "unsafe"; var n = unsafe.Sizeof(1)`, []string{"import: imports package unsafe"}},
		"another name":        {`import x "os/exec"; func f() { x.Command("sh") }`, []string{"import: imports package os/exec"}},
		"cgo":                 {"import \"C\"", []string{"link: uses cgo"}},
		"third party":         {`import _ "github.com/a/b"`, []string{"import: imports package github.com/a/b"}},
		"the harness":         {`import _ "raftlab/internal/verdict"`, []string{"import: imports package raftlab/internal/verdict"}},
		"dot import":          {`import . "os"; func f() { Remove("x") }`, []string{"import: imports package os without a name", "symbol: uses os.Remove"}},
		"files":               {`import "os"; func f() { os.Remove("x") }`, []string{"symbol: uses os.Remove"}},
		"files, renamed":      {`import o "os"; var f = o.OpenFile`, []string{"symbol: uses os.OpenFile"}},
		"type assertion":      {`import ("log"; "os"); func f() { log.Writer().(*os.File).Close() }`, []string{"global: uses log.Writer, a value that all servers share", "symbol: uses os.File"}},
		"unknown callee":      {`import ("log"; "os"); func f() { log.Writer().(interface{ Do(any) }).Do(os.Remove) }`, []string{"global: uses log.Writer, a value that all servers share", "symbol: uses os.Remove"}},
		"unknown receiver":    {`import ("log"; "os"); func f() { log.Nothing(func() { os.Remove("x") }) }`, []string{"symbol: uses os.Remove"}},
		"unknown global":      {`import "log"; var disks = map[int]int{}; func f() { log.Nothing(func() { disks[1] = 2 }) }`, []string{"global: changes the package-level variable disks"}},
		"method by name":      {`func f(x any) { x.(interface{ Fd() uintptr }).Fd() }`, []string{"symbol: uses method Fd"}},
		"raw address":         {`import "reflect"; func f(x any) { reflect.ValueOf(x).UnsafePointer() }`, []string{"symbol: uses method UnsafePointer"}},
		"new at an address":   {`import "reflect"; var f = reflect.NewAt`, []string{"symbol: uses reflect.NewAt"}},
		"linkname":            {"//go:linkname f runtime.exit\nfunc f(int)", []string{"link: the directive go:linkname", "link: function f has no body"}},
		"other's variable":    {`import "io"; func f() { io.EOF = nil }`, []string{"assign: changes the variable io.EOF"}},
		"other's address":     {`import "crypto/rand"; var p = &rand.Reader`, []string{"assign: changes the variable crypto/rand.Reader"}},
		"exit":                {`import "os"; func init() { os.Exit(0) }`, []string{"exit: uses os.Exit"}},
		"fatal":               {`import "log"; func f() { log.Fatal(1) }`, []string{"exit: uses log.Fatal"}},
		"environment":         {`import "os"; func f() { os.Getenv("X") }`, []string{"inspect: uses os.Getenv"}},
		"stack":               {`import "runtime"; func f() { runtime.Caller(0) }`, []string{"inspect: uses runtime.Caller"}},
		"shared map":          {`var disks = map[int]int{}; func f() { disks[1] = 2 }`, []string{"global: changes the package-level variable disks"}},
		"shared lock":         {`import "sync"; var mu sync.Mutex; func f() { mu.Lock() }`, []string{"global: calls method Lock of the package-level variable mu"}},
		"shared channel":      {`var c = make(chan int); func f() { c <- 1 }`, []string{"global: sends on the package-level variable c"}},
		"a harmless file": {`
import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"6.5840/labrpc"
	"errors"
	"time"
)
var (
	ErrStopped = errors.New("stopped")
	timeout = 100*time.Millisecond
	Pause time.Duration = 5
	names = [...]string{"a", "b"}
	texts = map[int]string{1: "a"}
	debugf = func(format string, args ...any) { if debug { fmt.Printf(format, args...) } }
	less func(int, int) bool
	kinds = []struct{ name string; d time.Duration }{{"a", 1}}
)
func init() { less = func(a, b int) bool { return a < b } }
func g() (error, string, time.Duration, string, bool) {
	debugf("x %d", len(texts))
	for _, k := range kinds { time.Sleep(k.d) }
	for _, n := range names { fmt.Println(n) }
	return ErrStopped, names[1], timeout + Pause, texts[1], less(1, 2)
}
type disk struct { sync.Mutex; peers []*labrpc.ClientEnd; os int }
const debug = false
var limit = 3
func (d *disk) f(disks map[int]int) { d.Lock(); defer d.Unlock(); disks[1] = limit; d.os++; fmt.Fprintln(os.Stderr, bytes.MinRead); b := &bytes.Buffer{}; _ = b; limit := 4; limit++ }`, nil},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tt.want, check(t, tt.src)) })
	}
}

// The type checker of a process of its own has limits. Without them this source, of a few
// lines, takes 4 GiB of the grader's memory.
func TestInspectionHasLimits(t *testing.T) {
	src := "package raft\n\nconst a0 = `" + strings.Repeat("x", 64<<10) + "`\n"
	for i := range 16 {
		src += fmt.Sprintf("const a%d = a%d + a%d\n", i+1, i, i)
	}
	pkg := inspection{Names: []string{"raft.go"}, Files: [][]byte{[]byte(src + "const n = len(a16)\n")}}
	_, err := inspectAll(t.Context(), true, []inspection{pkg})
	require.ErrorIs(t, err, ErrSubmission)
	require.ErrorContains(t, err, "cannot be checked within 20s of CPU time and 1024 MiB of memory")
	pkg.Files[0] = []byte("package raft\n\nimport _ \"unsafe\"\n")
	found, err := inspectAll(t.Context(), true, []inspection{pkg})
	require.NoError(t, err)
	require.Equal(t, []Finding{{Rule: RuleImport, Place: "raft.go:3", What: "imports package unsafe"}}, found)
}
