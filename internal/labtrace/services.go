package labtrace

import (
	"fmt"
	"slices"
	"strings"

	"raftlab/labgob"
)

// The messages and the log entries of this project's services, by the names of their fields.
// The tables hold the values of kv.Kind, kv.Code, clerk.Code, shardctrler.Kind and
// shardkv.Kind in words. A log has entries of package rsm, which have no names.
var (
	operationFields = []string{"Kind", "Key", "Value", "Conditional", "Version", "End", "Limit", "Tag"}
	resultFields    = []string{"Code", "Value", "Version", "Pairs", "More", "Tag"}
	argsFields      = []string{"Client", "Seq", "Command", "End"}
	replyFields     = []string{"Code", "Result"}
	changeFields    = []string{"Kind", "Num", "Groups", "GIDs", "Shard", "GID"}
	shardFields     = []string{"Kind", "Shard", "Op", "Num", "Piece", "Config", "Txn", "Phase", "Limited"}
	requestFields   = []string{"Kind", "ID", "Client", "Seq", "Command"}
	pieceFields     = []string{"Offset", "Size", "Sum", "Data"}
	configFields    = []string{"Num", "Shards", "Groups"}

	operationKinds = []string{"get", "put", "append", "delete", "scan"}
	resultCodes    = []string{"ok", "not found", "version mismatch", "too large", "invalid operation"}
	replyCodes     = []string{"no answer", "done", "not the leader", "lost", "stale", "session expired", "refused", "busy"}
	changeKinds    = []string{"query", "join", "leave", "move", "drop"}
	shardKinds     = []string{"operation", "transaction", "prepare", "outcome", "install", "configuration", "remove", "decide", "forget", "fetch"}
)

// The kinds of entries of package rsm.
const (
	requestCommand = iota
	requestNoOp
	requestEndSession
)

// has reports whether a struct has exactly these fields.
func has(v labgob.Struct, names []string) bool {
	return slices.EqualFunc(v, names, func(f labgob.Field, name string) bool { return f.Name == name })
}

// service describes a struct of the services in words.
func service(v labgob.Struct) (text string, ok bool) {
	switch {
	case has(v, operationFields):
		return operation(v)
	case has(v, resultFields):
		code, known := named(resultCodes, v[0].Value)
		if !known {
			return "", false
		}
		text = code
		if !isZero(v[1].Value) {
			text += " " + words(v[1].Value)
		}
		return text + fmt.Sprintf(" (version %v)", v[2].Value), true
	case has(v, argsFields):
		if v[3].Value == true {
			return fmt.Sprintf("end of session %v", v[0].Value), true
		}
		return numbered(words(v[2].Value), v[1].Value, v[0].Value), true
	case has(v, replyFields):
		return reply(v)
	case has(v, changeFields):
		return change(v)
	case has(v, shardFields):
		return shardCommand(v)
	case has(v, requestFields):
		return logged(v)
	case has(v, pieceFields):
		return fmt.Sprintf("of %v bytes at %v", v[1].Value, v[0].Value), true
	}
	return "", false
}

// reply describes an answer to a clerk. Only the code done has a result.
func reply(v labgob.Struct) (text string, ok bool) {
	code, known := named(replyCodes, v[0].Value)
	if !known {
		return "", false
	}
	if code == "done" {
		code += ", " + words(v[1].Value)
	}
	return code, true
}

// operation describes an operation on a key.
func operation(v labgob.Struct) (text string, ok bool) {
	kind, known := named(operationKinds, v[0].Value)
	if !known {
		return "", false
	}
	text = fmt.Sprintf("%s(%s", kind, words(v[1].Value))
	if !isZero(v[2].Value) {
		text += ", " + words(v[2].Value)
	}
	if v[3].Value == true {
		text += fmt.Sprintf(", if version %v", v[4].Value)
	}
	return text + ")", true
}

// change describes a command of the configuration service.
func change(v labgob.Struct) (text string, ok bool) {
	kind, known := named(changeKinds, v[0].Value)
	if !known {
		return "", false
	}
	switch kind {
	case "join":
		return fmt.Sprintf("join(%s)", words(v[2].Value)), true
	case "leave":
		return fmt.Sprintf("leave(%s)", words(v[3].Value)), true
	case "move":
		return fmt.Sprintf("move(shard %v to group %v)", v[4].Value, v[5].Value), true
	}
	return fmt.Sprintf("%s(%v)", kind, v[1].Value), true
}

// shardCommand describes a command of the sharded store.
func shardCommand(v labgob.Struct) (text string, ok bool) {
	kind, known := named(shardKinds, v[0].Value)
	if !known {
		return "", false
	}
	if kind == "operation" {
		return fmt.Sprintf("%s in shard %v", words(v[2].Value), v[1].Value), true
	}
	if config, ok := v[5].Value.(labgob.Struct); ok && has(config, configFields) {
		return fmt.Sprintf("configuration %v with the shards %s", config[0].Value, words(config[1].Value)), true
	}
	parts := []string{fmt.Sprintf("%s(shard %v", kind, v[1].Value)}
	for _, f := range v[3 : len(v)-1] {
		if !isZero(f.Value) {
			parts = append(parts, f.Name+" "+words(f.Value))
		}
	}
	return strings.Join(parts, ", ") + ")", true
}

// logged describes an entry of a log of package rsm.
func logged(v labgob.Struct) (text string, ok bool) {
	kind, _ := number(v[0].Value)
	switch kind {
	case requestNoOp:
		return "no-op", true
	case requestEndSession:
		return fmt.Sprintf("end of session %v", v[2].Value), true
	}
	return numbered(words(v[4].Value), v[3].Value, nil), true
}

// numbered adds the number of a command and the client's session to a text, if there are any.
func numbered(text string, seq, client any) string {
	if !isZero(seq) {
		text += fmt.Sprintf(", seq %v", seq)
	}
	if !isZero(client) {
		text += fmt.Sprintf(" of session %v", client)
	}
	return text
}

// viewRequest decodes an entry of a log of package rsm.
func viewRequest(data []byte) (labgob.Struct, bool) {
	value, ok := viewMsgpack(data)
	fields, isList := value.([]any)
	if !ok || !isList || len(fields) != len(requestFields) {
		return nil, false
	}
	for _, v := range fields[:4] {
		if _, ok := number(v); !ok {
			return nil, false
		}
	}
	if kind, _ := number(fields[0]); kind < requestCommand || kind > requestEndSession {
		return nil, false
	}
	return label(requestFields, fields), true
}

// label returns a struct of msgpack with the names of its fields.
func label(names []string, values []any) labgob.Struct {
	s := make(labgob.Struct, len(values))
	for i, v := range values {
		s[i] = labgob.Field{Name: names[i], Value: labelled(v)}
	}
	return s
}

// labelled returns a value of msgpack with the names of fields where the shape of a struct
// tells them. Other structs stay lists.
func labelled(v any) any {
	switch v := v.(type) {
	case []any:
		switch {
		case len(v) == len(operationFields) && isA[string](v[1]) && isA[string](v[2]):
			return label(operationFields, v)
		case len(v) == len(changeFields) && (v[2] == nil || isA[map[any]any](v[2])):
			return label(changeFields, v)
		case len(v) == len(shardFields) && isA[[]any](v[2]) && isA[bool](v[len(v)-1]):
			return label(shardFields, v)
		case len(v) == len(pieceFields) && isA[[]byte](v[3]):
			return label(pieceFields, v)
		case len(v) == len(configFields) && isA[[]any](v[1]) && isA[map[any]any](v[2]):
			return label(configFields, v)
		}
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = labelled(e)
		}
		return list
	case map[any]any:
		var m labgob.Map
		for key, value := range v {
			m = append(m, labgob.Pair{Key: key, Value: labelled(value)})
		}
		slices.SortFunc(m, func(a, b labgob.Pair) int { return strings.Compare(fmt.Sprint(a.Key), fmt.Sprint(b.Key)) })
		return m
	}
	return v
}

func isA[T any](v any) bool { _, ok := v.(T); return ok }

// isZero reports whether a value is the zero value of its type.
func isZero(v any) bool {
	if n, ok := number(v); ok {
		return n == 0
	}
	return v == nil || v == ""
}

// named returns the name of a number.
func named(names []string, v any) (name string, ok bool) {
	n, ok := number(v)
	if !ok || n < 0 || n >= len(names) {
		return "", false
	}
	return names[n], true
}
