package grade

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
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

// sharedSymbols are names of permitted packages through which servers could share state
// without a variable of their own.
var sharedSymbols = map[string][]string{
	"log":      {"Default", "Flags", "Prefix", "Writer"},
	"log/slog": {"Default"},
	"unicode":  {"CaseOrbit", "CaseRanges", "Categories", "FoldCategory", "FoldScript", "GraphicRanges", "PrintRanges", "Properties", "Scripts"},
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
	dots  []string          // paths of the present file's imports without a name
	// inits has the declaration of each package-level variable, and assigned the expressions
	// of assignments to the variable as a whole.
	inits    map[*types.Var]*ast.ValueSpec
	assigned map[*types.Var][]ast.Expr
	found    []Finding
}

// inspect checks the files of a package. local reports whether an import path leads
// to a package of the submission or of the course.
func inspect(fset *token.FileSet, files []*ast.File, local func(string) bool) []Finding {
	in := &inspector{fset: fset, local: local, inits: make(map[*types.Var]*ast.ValueSpec), assigned: make(map[*types.Var][]ast.Expr),
		info: &types.Info{Uses: make(map[*ast.Ident]types.Object), Defs: make(map[*ast.Ident]types.Object), Types: make(map[ast.Expr]types.TypeAndValue)}}
	in.resolve(files)
	in.declared(files)
	for _, file := range files {
		in.names, in.dots = make(map[string]string), nil
		for _, spec := range file.Imports {
			in.imported(spec)
		}
		in.directives(file)
		ast.Inspect(file, in.node)
		in.globals(file)
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
	if name == "time" {
		return durations, nil
	}
	pkg := types.NewPackage(name, baseName(name))
	pkg.MarkComplete()
	return pkg, nil
}

// durations is package time with the type and the constants of durations. Many submissions
// have package-level variables of the type, which hold no state.
var durations = func() *types.Package {
	pkg := types.NewPackage("time", "time")
	d := types.NewNamed(types.NewTypeName(token.NoPos, pkg, "Duration", nil), types.Typ[types.Int64], nil)
	pkg.Scope().Insert(d.Obj())
	for name, value := range map[string]time.Duration{"Nanosecond": time.Nanosecond, "Microsecond": time.Microsecond, "Millisecond": time.Millisecond,
		"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour} {
		pkg.Scope().Insert(types.NewConst(token.NoPos, pkg, name, d, constant.MakeInt64(int64(value))))
	}
	pkg.MarkComplete()
	return pkg
}()

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
	if spec.Name != nil && spec.Name.Name == "." {
		in.dots = append(in.dots, name)
	} else if spec.Name != nil {
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
	case *ast.Ident:
		if in.unknown(n) {
			for _, pkg := range in.dots {
				in.uses(n.Pos(), pkg, n.Name)
			}
		}
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
	if pkg := in.imports(n.X); pkg != "" {
		in.uses(n.Pos(), pkg, n.Sel.Name)
	} else if slices.Contains(rawMethods, n.Sel.Name) {
		in.add(n.Pos(), RuleSymbol, "uses method %s", n.Sel.Name)
	}
}

// unknown reports whether a name may be from an import without a name.
func (in *inspector) unknown(id *ast.Ident) bool {
	return ast.IsExported(id.Name) && in.info.Uses[id] == nil && in.info.Defs[id] == nil && in.scope.Lookup(id.Name) == nil
}

// uses looks at the use of a name of another package.
func (in *inspector) uses(pos token.Pos, pkg, name string) {
	if in.local(pkg) && path.Base(pkg) == "labrpc" && strings.HasPrefix(name, "Make") {
		in.add(pos, RuleGlobal, "uses %s.%s, for a network beside the course's", pkg, name)
	}
	if !in.local(pkg) && slices.Contains(sharedSymbols[pkg], name) {
		in.add(pos, RuleGlobal, "uses %s.%s, a value that all servers share", pkg, name)
	}
	rule, listed := permittedSymbols[pkg][name]
	switch {
	case rule != "":
		in.add(pos, rule, "uses %s.%s", pkg, name)
	case listed || slices.Contains(permittedPackages, pkg) || permittedSymbols[pkg] == nil:
	default:
		in.add(pos, RuleSymbol, "uses %s.%s", pkg, name)
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
		case *ast.Ident:
			if len(in.dots) > 0 && in.unknown(y) {
				in.add(y.Pos(), RuleAssign, "changes the variable %s of another package", y.Name)
			}
			return
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
