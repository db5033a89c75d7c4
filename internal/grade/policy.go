package grade

import (
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Rules for the source of submissions. A table decides for each rule whether a
// finding refuses the submission or is only reported.
const (
	RuleImport  = "import"  // a package that reaches out of the laboratory
	RuleSymbol  = "symbol"  // a function or type that does, of a package that is otherwise permitted
	RuleAssign  = "assign"  // a variable of another package is changed
	RuleLink    = "link"    // go:linkname, cgo, assembly, or the embedding of files
	RuleExit    = "exit"    // the process is ended
	RuleGlobal  = "global"  // servers could share state, or keep state beyond a crash
	RuleInspect = "inspect" // the caller, the stack or the environment is read
)

// refusing are the rules that refuse a submission unless the table decides
// otherwise. A finding of the other rules is reported.
var refusing = map[string]bool{RuleImport: true, RuleSymbol: true, RuleAssign: true, RuleLink: true, RuleExit: false, RuleGlobal: false, RuleInspect: false}

// A Finding is a place in a submission that breaks a rule.
type Finding struct {
	Rule    string `json:"rule"`
	Place   string `json:"place"` // file:line in the submission
	What    string `json:"what"`
	Refused bool   `json:"refused"`
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s (rule %s)", f.Place, f.What, f.Rule) }

// permittedPackages are packages of the standard library without access to anything
// outside of the process, and without a way around Go's types.
var permittedPackages = strings.Fields(`bufio bytes cmp container/heap container/list container/ring context
	crypto crypto/md5 crypto/rand crypto/sha1 crypto/sha256 crypto/sha512 encoding encoding/base32 encoding/base64 encoding/binary
	encoding/gob encoding/hex encoding/json errors fmt hash hash/adler32 hash/crc32 hash/crc64 hash/fnv hash/maphash io iter log log/slog
	maps math math/big math/bits math/cmplx math/rand math/rand/v2 regexp regexp/syntax slices sort strconv strings sync sync/atomic
	text/tabwriter text/template time unicode unicode/utf16 unicode/utf8`)

// permittedSymbols are harmless names of packages that are not permitted as a whole.
// The value is the rule for use of the name, or "" for none.
var permittedSymbols = map[string]map[string]string{
	"os": {"Exit": RuleExit, "Stdout": "", "Stderr": "", "Getenv": RuleInspect, "LookupEnv": RuleInspect},
	"runtime": {"Gosched": "", "NumGoroutine": "", "NumCPU": "", "GOMAXPROCS": "", "GC": "", "GOOS": "", "GOARCH": "", "Version": "",
		"ReadMemStats": "", "MemStats": "", "Error": "", "KeepAlive": "", "Goexit": RuleExit, "Caller": RuleInspect, "Callers": RuleInspect,
		"FuncForPC": RuleInspect, "CallersFrames": RuleInspect, "Stack": RuleInspect, "Frame": RuleInspect},
	"runtime/debug": {"Stack": RuleInspect, "PrintStack": "", "FreeOSMemory": ""},
	"reflect": {"TypeOf": "", "TypeFor": "", "DeepEqual": "", "ValueOf": "", "Type": "", "Value": "", "Kind": "", "Zero": "", "Indirect": "",
		"Struct": "", "Map": "", "Slice": "", "Ptr": "", "Pointer": "", "String": "", "Int": "", "Func": "", "Interface": "", "Array": "", "Bool": "", "Swapper": ""},
	"io/ioutil": {"Discard": "", "ReadAll": "", "NopCloser": ""},
	"log":       {"Fatal": RuleExit, "Fatalf": RuleExit, "Fatalln": RuleExit},
}

// rawMethods of reflect.Value and others give memory addresses.
var rawMethods = []string{"UnsafeAddr", "UnsafePointer", "SetPointer", "InterfaceData", "SyscallConn", "Fd"}

// inspector looks for findings in one package.
type inspector struct {
	fset  *token.FileSet
	info  *types.Info
	scope *types.Scope // of the package
	local func(path string) bool
	names map[string]string // paths of the present file's imports, by name
	found []Finding
}

// inspect checks the files of a package. local reports whether an import path leads
// to a package of the submission or of the course.
func inspect(fset *token.FileSet, files []*ast.File, local func(string) bool) []Finding {
	in := &inspector{fset: fset, local: local, info: &types.Info{Uses: make(map[*ast.Ident]types.Object), Defs: make(map[*ast.Ident]types.Object)}}
	in.resolve(files)
	for _, file := range files {
		in.names = make(map[string]string)
		for _, spec := range file.Imports {
			in.imported(spec)
		}
		in.directives(file)
		ast.Inspect(file, in.node)
		for _, decl := range file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
				in.globals(fn)
			}
		}
	}
	slices.SortStableFunc(in.found, func(a, b Finding) int { return strings.Compare(a.Place, b.Place) })
	return slices.Compact(in.found)
}

// resolve binds names to declarations. The imported packages are empty, so types
// of other packages stay unknown. Local names, package-level names and package names
// become known.
func (in *inspector) resolve(files []*ast.File) {
	conf := types.Config{Importer: emptyImporter{}, Error: func(error) {}, DisableUnusedImportCheck: true}
	pkg, _ := conf.Check("submission", in.fset, files, in.info)
	in.scope = pkg.Scope()
}

// emptyImporter returns an empty package for each path.
type emptyImporter struct{}

func (emptyImporter) Import(name string) (*types.Package, error) {
	if name == "unsafe" {
		return nil, errors.New("not permitted")
	}
	pkg := types.NewPackage(name, baseName(name))
	pkg.MarkComplete()
	return pkg, nil
}

// baseName is the name of a package of the standard library.
func baseName(name string) string {
	if base := path.Base(name); base != "v2" {
		return base
	}
	return path.Base(path.Dir(name))
}

func (in *inspector) add(pos token.Pos, rule, format string, args ...any) {
	p := in.fset.Position(pos)
	in.found = append(in.found, Finding{Rule: rule, Place: fmt.Sprintf("%s:%d", p.Filename, p.Line), What: fmt.Sprintf(format, args...)})
}

func (in *inspector) imported(spec *ast.ImportSpec) {
	name, err := strconv.Unquote(spec.Path.Value)
	if spec.Name != nil {
		in.names[spec.Name.Name] = name
	} else {
		in.names[baseName(name)] = name
	}
	if err != nil || in.local(name) || slices.Contains(permittedPackages, name) {
		return
	}
	switch {
	case name == "C":
		in.add(spec.Pos(), RuleLink, "uses cgo")
	case permittedSymbols[name] == nil:
		in.add(spec.Pos(), RuleImport, "imports package %s", name)
	case spec.Name != nil && spec.Name.Name == ".":
		in.add(spec.Pos(), RuleImport, "imports package %s without a name", name)
	}
}

// directives looks for comments that the compiler obeys. The parser leaves them out
// of doc comments only as text.
func (in *inspector) directives(file *ast.File) {
	for _, group := range file.Comments {
		for _, c := range group.List {
			for _, d := range []string{"//go:linkname", "//go:cgo_", "//go:embed", "//go:wasmimport", "//go:wasmexport", "//line ", "/*line "} {
				if strings.HasPrefix(c.Text, d) {
					in.add(c.Pos(), RuleLink, "the directive %s", strings.TrimSpace(d[2:]))
				}
			}
		}
	}
}

// imports returns the path of the package that x names, or "". The type checker gives
// up on an expression with an unknown type, and then the name of an import counts.
func (in *inspector) imports(x ast.Expr) string {
	id, ok := x.(*ast.Ident)
	if !ok {
		return ""
	}
	obj, known := in.info.Uses[id]
	if !known {
		return in.names[id.Name]
	}
	if name, ok := obj.(*types.PkgName); ok {
		return name.Imported().Path()
	}
	return ""
}

func (in *inspector) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.SelectorExpr:
		in.selector(n)
	case *ast.AssignStmt:
		for _, x := range n.Lhs {
			in.changed(x)
		}
	case *ast.IncDecStmt:
		in.changed(n.X)
	case *ast.RangeStmt:
		in.changed(n.Key)
		in.changed(n.Value)
	case *ast.CallExpr:
		if changes(n) {
			in.changed(n.Args[0])
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			in.changed(n.X)
		}
	case *ast.FuncDecl:
		if n.Body == nil {
			in.add(n.Pos(), RuleLink, "function %s has no body", n.Name.Name)
		}
	}
	return true
}

// changes reports whether a call is of a builtin function that changes its first argument.
func changes(call *ast.CallExpr) bool {
	id, ok := call.Fun.(*ast.Ident)
	return ok && slices.Contains([]string{"delete", "clear", "copy"}, id.Name) && len(call.Args) > 0
}

func (in *inspector) selector(n *ast.SelectorExpr) {
	pkg := in.imports(n.X)
	if in.local(pkg) && path.Base(pkg) == "labrpc" && strings.HasPrefix(n.Sel.Name, "Make") {
		in.add(n.Pos(), RuleGlobal, "uses %s.%s, for a network beside the course's", pkg, n.Sel.Name)
	}
	if pkg == "" {
		if slices.Contains(rawMethods, n.Sel.Name) {
			in.add(n.Pos(), RuleSymbol, "uses method %s", n.Sel.Name)
		}
		return
	}
	rule, listed := permittedSymbols[pkg][n.Sel.Name]
	switch {
	case rule != "":
		in.add(n.Pos(), rule, "uses %s.%s", pkg, n.Sel.Name)
	case listed || slices.Contains(permittedPackages, pkg) || permittedSymbols[pkg] == nil:
	default:
		in.add(n.Pos(), RuleSymbol, "uses %s.%s", pkg, n.Sel.Name)
	}
}

// changed finds the change of a variable of another package. The address of a
// composite literal changes nothing.
func (in *inspector) changed(x ast.Expr) {
	for {
		switch y := x.(type) {
		case *ast.ParenExpr:
			x = y.X
			continue
		case *ast.SelectorExpr:
			if pkg := in.imports(y.X); pkg != "" {
				in.add(y.Pos(), RuleAssign, "changes the variable %s.%s", pkg, y.Sel.Name)
				return
			}
			x = y.X
			continue
		case *ast.IndexExpr:
			x = y.X
			continue
		case *ast.StarExpr:
			x = y.X
			continue
		}
		return
	}
}

// globals finds package-level variables that a function changes, other than init.
// Several servers of a test run in one process, so such a variable is shared between
// servers and survives a crash.
func (in *inspector) globals(fn *ast.FuncDecl) {
	if fn.Recv == nil && fn.Name.Name == "init" {
		return
	}
	report := func(x ast.Expr, how string) {
		if v := in.global(x); v != nil {
			in.add(x.Pos(), RuleGlobal, "%s the package-level variable %s", how, v.Name())
		}
	}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, x := range n.Lhs {
				report(x, "changes")
			}
			for _, x := range n.Rhs {
				in.handedOut(x)
			}
		case *ast.IncDecStmt:
			report(n.X, "changes")
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				report(n.X, "takes the address of")
			}
		case *ast.SendStmt:
			report(n.Chan, "sends on")
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && in.imports(sel.X) == "" {
				report(sel.X, "calls method "+sel.Sel.Name+" of")
			}
			if changes(n) {
				report(n.Args[0], "changes")
			}
			for _, x := range n.Args {
				in.handedOut(x)
			}
		case *ast.ReturnStmt:
			for _, x := range n.Results {
				in.handedOut(x)
			}
		case *ast.RangeStmt:
			report(n.Key, "changes")
			report(n.Value, "changes")
		}
		return true
	})
}

// handedOut reports a package-level variable that is used as a value, if the holder of the
// value can change what the variable leads to.
func (in *inspector) handedOut(x ast.Expr) {
	id, ok := x.(*ast.Ident)
	if !ok {
		return
	}
	if v := in.global(id); v != nil {
		switch v.Type().Underlying().(type) {
		case *types.Pointer, *types.Map, *types.Slice, *types.Chan:
			in.add(x.Pos(), RuleGlobal, "hands out the package-level variable %s", v.Name())
		}
	}
}

// global returns the package-level variable at the root of an expression.
func (in *inspector) global(x ast.Expr) *types.Var {
	for {
		switch y := x.(type) {
		case *ast.ParenExpr:
			x = y.X
		case *ast.SelectorExpr:
			x = y.X
		case *ast.IndexExpr:
			x = y.X
		case *ast.SliceExpr:
			x = y.X
		case *ast.StarExpr:
			x = y.X
		case *ast.Ident:
			outer, _ := in.scope.Lookup(y.Name).(*types.Var)
			if obj, known := in.info.Uses[y]; known && obj != outer || in.info.Defs[y] != nil {
				return nil
			}
			return outer
		default:
			return nil
		}
	}
}
