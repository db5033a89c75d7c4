package labtrace

import (
	"fmt"
	"slices"

	"raftlab/labgob"
)

// The messages of this project's services, by the names of their fields. The tables hold the
// values of kv.Kind, kv.Code and clerk.Code in words.
var (
	operationFields = []string{"Kind", "Key", "Value", "Conditional", "Version", "End", "Limit", "Tag"}
	resultFields    = []string{"Code", "Value", "Version", "Pairs", "More", "Tag"}
	replyFields     = []string{"Code", "Result"}

	operationKinds = []string{"get", "put", "append", "delete", "scan"}
	resultCodes    = []string{"ok", "not found", "version mismatch", "too large", "invalid operation"}
	replyCodes     = []string{"no answer", "done", "not the leader", "lost", "stale", "session expired", "refused", "busy"}
)

// has reports whether a struct has exactly these fields.
func has(v labgob.Struct, names []string) bool {
	return slices.EqualFunc(v, names, func(f labgob.Field, name string) bool { return f.Name == name })
}

// service describes a struct of the services in words.
func service(v labgob.Struct) (text string, ok bool) {
	switch {
	case has(v, operationFields):
		kind, known := named(operationKinds, v[0].Value)
		if !known {
			return "", false
		}
		text = fmt.Sprintf("%s(%s", kind, words(v[1].Value))
		if value := v[2].Value; value != nil && value != "" {
			text += ", " + words(value)
		}
		if v[3].Value == true {
			text += fmt.Sprintf(", if version %v", v[4].Value)
		}
		return text + ")", true
	case has(v, resultFields):
		code, known := named(resultCodes, v[0].Value)
		if !known {
			return "", false
		}
		text = code
		if value := v[1].Value; value != nil && value != "" {
			text += " " + words(value)
		}
		return text + fmt.Sprintf(" (version %v)", v[2].Value), true
	}
	return "", false
}

// named returns the name of a number.
func named(names []string, v any) (name string, ok bool) {
	n, ok := number(v)
	if !ok || n < 0 || n >= len(names) {
		return "", false
	}
	return names[n], true
}
