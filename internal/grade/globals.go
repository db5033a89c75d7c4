package grade

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
)

// declared notes the declarations of package-level variables, and assignments to them.
func (in *inspector) declared(files []*ast.File) {
	for _, file := range files {
		for _, decl := range file.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || d.Tok != token.VAR {
				continue
			}
			for _, spec := range d.Specs {
				spec := spec.(*ast.ValueSpec)
				for _, name := range spec.Names {
					if v, ok := in.info.Defs[name].(*types.Var); ok {
						in.inits[v] = spec
					}
				}
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if a, ok := n.(*ast.AssignStmt); ok {
				in.assigns(a)
			}
			return true
		})
	}
}

func (in *inspector) assigns(a *ast.AssignStmt) {
	for i, x := range a.Lhs {
		id, ok := x.(*ast.Ident)
		if !ok {
			continue
		}
		if v := in.global(id); v != nil {
			in.assigned[v] = append(in.assigned[v], a.Rhs[min(i, len(a.Rhs)-1)])
		}
	}
}

// globals finds package-level variables that code changes after the start of the
// program, or hands out so that other code can change what the variables lead to. Several
// servers of a test run in one process, so such a variable is shared between servers and
// survives a crash.
func (in *inspector) globals(file *ast.File) {
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		switch {
		case !ok:
			in.exported(decl)
			in.literals(decl)
		case fn.Body == nil:
		case fn.Recv == nil && fn.Name.Name == "init":
			in.literals(fn.Body)
		default:
			in.body(fn.Body)
		}
	}
}

// exported reports variables that other packages can reach.
func (in *inspector) exported(decl ast.Decl) {
	d, ok := decl.(*ast.GenDecl)
	if !ok || d.Tok != token.VAR {
		return
	}
	for _, spec := range d.Specs {
		for _, name := range spec.(*ast.ValueSpec).Names {
			if v, ok := in.info.Defs[name].(*types.Var); ok && name.IsExported() && in.leads(name, v) {
				in.add(name.Pos(), RuleGlobal, "other packages reach the package-level variable %s", name.Name)
			}
		}
	}
}

// literals looks at function literals, which may run later than the code around them.
func (in *inspector) literals(root ast.Node) {
	ast.Inspect(root, func(n ast.Node) bool {
		lit, ok := n.(*ast.FuncLit)
		if ok {
			in.body(lit.Body)
		}
		return !ok
	})
}

// body looks at the uses of package-level variables in a function.
func (in *inspector) body(root *ast.BlockStmt) {
	var path []ast.Node
	ast.Inspect(root, func(n ast.Node) bool {
		if n == nil {
			path = path[:len(path)-1]
			return true
		}
		path = append(path, n)
		if id, ok := n.(*ast.Ident); ok {
			if v := in.global(id); v != nil {
				in.used(v, id, path[:len(path)-1])
			}
		}
		return true
	})
}

// used looks at a use of a variable. Above are the nodes around the name.
func (in *inspector) used(v *types.Var, id *ast.Ident, above []ast.Node) {
	x, above := whole(id, above)
	if len(above) == 0 {
		return
	}
	report := func(how string) { in.add(x.Pos(), RuleGlobal, "%s the package-level variable %s", how, v.Name()) }
	handed := func() {
		if in.leads(x, v) {
			report("hands out")
		}
	}
	switch n := above[len(above)-1].(type) {
	case *ast.AssignStmt:
		if slices.Contains(n.Lhs, x) {
			report("changes")
			return
		}
		handed()
	case *ast.IncDecStmt:
		report("changes")
	case *ast.UnaryExpr:
		switch n.Op {
		case token.AND:
			report("takes the address of")
		case token.ARROW:
			report("receives from")
		}
	case *ast.SendStmt:
		if n.Chan == x {
			report("sends on")
			return
		}
		handed()
	case *ast.CallExpr:
		in.called(v, x, n, report, handed)
	case *ast.RangeStmt:
		switch x {
		case n.Key, n.Value:
			report("changes")
		case n.X:
			in.ranged(v, x, report)
		}
	case *ast.CompositeLit, *ast.ReturnStmt, *ast.ValueSpec:
		handed()
	case *ast.KeyValueExpr:
		if n.Value == x {
			handed()
		}
	}
}

// whole returns the selections, elements and parts that begin with a name, as one
// expression, and the nodes around the expression.
func whole(id *ast.Ident, above []ast.Node) (ast.Expr, []ast.Node) {
	var x ast.Expr = id
	for len(above) > 0 {
		var from ast.Expr
		outer := above[len(above)-1]
		switch n := outer.(type) {
		case *ast.ParenExpr:
			from = n.X
		case *ast.SelectorExpr:
			from = n.X
		case *ast.IndexExpr:
			from = n.X
		case *ast.SliceExpr:
			from = n.X
		case *ast.StarExpr:
			from = n.X
		case *ast.TypeAssertExpr:
			from = n.X
		}
		if from != x {
			return x, above
		}
		x, above = outer.(ast.Expr), above[:len(above)-1]
	}
	return x, above
}

// called looks at a variable that is called, or is an argument of a call.
func (in *inspector) called(v *types.Var, x ast.Expr, call *ast.CallExpr, report func(string), handed func()) {
	if call.Fun == x {
		sel, method := x.(*ast.SelectorExpr)
		switch {
		case method && in.leads(sel.X, v):
			report("calls method " + sel.Sel.Name + " of")
		case !method && in.leads(x, v):
			report("calls a function with a state in")
		}
		return
	}
	if fn, ok := call.Fun.(*ast.Ident); ok && (fn.Name == "len" || fn.Name == "cap") {
		return
	}
	if changes(call) && call.Args[0] == x {
		report("changes")
		return
	}
	handed()
}

// ranged looks at a loop over a variable.
func (in *inspector) ranged(v *types.Var, x ast.Expr, report func(string)) {
	t := in.info.TypeOf(x)
	if t == nil {
		return
	}
	switch t := t.Underlying().(type) {
	case *types.Chan:
		report("receives from")
		return
	case *types.Slice:
		if !mutable(t.Elem()) {
			return
		}
	case *types.Map:
		if !mutable(t.Elem()) && !mutable(t.Key()) {
			return
		}
	}
	if in.leads(x, v) {
		report("hands out")
	}
}

// leads reports whether the holder of x, a value from variable v, can change or learn a
// state that others share.
func (in *inspector) leads(x ast.Expr, v *types.Var) bool {
	if _, self := x.(*ast.Ident); self && (in.isError(v) || in.isPlain(v)) {
		return false
	}
	t := in.info.TypeOf(x)
	if t == nil || t == types.Typ[types.Invalid] {
		t = v.Type()
	}
	return mutable(t)
}

// mutable reports whether values of a type lead to memory that others share. A type of another
// package is unknown, and counts.
func mutable(t types.Type) bool { return reaches(t, nil) }

func reaches(t types.Type, seen []types.Type) bool {
	if slices.Contains(seen, t) {
		return false
	}
	seen = append(seen, t)
	switch u := t.Underlying().(type) {
	case *types.Basic:
		return u.Kind() == types.Invalid || u.Kind() == types.UnsafePointer
	case *types.Struct:
		for f := range u.Fields() {
			if reaches(f.Type(), seen) {
				return true
			}
		}
		return false
	case *types.Array:
		return reaches(u.Elem(), seen)
	}
	return true
}

// isError reports whether a variable holds an error from errors.New or fmt.Errorf.
func (in *inspector) isError(v *types.Var) bool {
	call, ok := in.value(v).(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	name := in.imports(sel.X) + "." + sel.Sel.Name
	return name == "errors.New" || name == "fmt.Errorf"
}

// isPlain reports whether a variable holds a function without a state.
func (in *inspector) isPlain(v *types.Var) bool {
	if _, ok := v.Type().Underlying().(*types.Signature); !ok {
		return false
	}
	if x := in.value(v); x != nil && !in.stateless(x) {
		return false
	}
	for _, x := range in.assigned[v] {
		if !in.stateless(x) {
			return false
		}
	}
	return true
}

// stateless reports whether an expression is a declared function, or a literal that uses no
// variable of a function around the literal.
func (in *inspector) stateless(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		obj := in.info.Uses[x]
		_, fn := obj.(*types.Func)
		return fn || obj == types.Universe.Lookup("nil")
	case *ast.SelectorExpr:
		return in.imports(x.X) != ""
	case *ast.FuncLit:
		free := false
		ast.Inspect(x, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				v, ok := in.info.Uses[id].(*types.Var)
				free = free || ok && !v.IsField() && v.Parent() != in.scope && (v.Pos() < x.Pos() || x.End() <= v.Pos())
			}
			return true
		})
		return !free
	}
	return false
}

// value returns the expression in the declaration of a variable, or nil.
func (in *inspector) value(v *types.Var) ast.Expr {
	spec := in.inits[v]
	if spec == nil || len(spec.Values) == 0 {
		return nil
	}
	for i, name := range spec.Names {
		if in.info.Defs[name] == v && i < len(spec.Values) {
			return spec.Values[i]
		}
	}
	return spec.Values[0]
}

// global returns the package-level variable with a name.
func (in *inspector) global(id *ast.Ident) *types.Var {
	outer, _ := in.scope.Lookup(id.Name).(*types.Var)
	if obj, known := in.info.Uses[id]; known && obj != outer || in.info.Defs[id] != nil {
		return nil
	}
	return outer
}
