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
	shardResult     = []string{"Code", "KV", "Txn", "Vote", "Values"}
	outcomeFields   = []string{"Succeeded", "Results", "Problem", "Detail", "ID", "Bytes", "Keep"}
	voteFields      = []string{"Holds", "Then", "Else", "ThenBytes", "ElseBytes"}
	txnFields       = []string{"If", "Then", "Else"}
	compareFields   = []string{"Key", "Relation", "ByVersion", "Value", "Version"}
	phaseFields     = []string{"ID", "Oldest", "Part", "Outcome"}
	idFields        = []string{"Shard", "Number"}

	operationKinds = []string{"get", "put", "append", "delete", "scan"}
	resultCodes    = []string{"ok", "not found", "version mismatch", "too large", "invalid operation"}
	replyCodes     = []string{"no answer", "done", "not the leader", "lost", "stale", "session expired", "refused", "busy"}
	changeKinds    = []string{"query", "join", "leave", "move", "drop"}
	shardCodes     = []string{"served", "wrong group", "shard is arriving", "locked by a transaction", "transaction is in progress", "transaction is over", "piece of the shard is stored", "malformed command", "too many transactions in progress", "values are no longer kept"}
	problems       = []string{"", "the locks were not granted in time", "a key or value is too large", "the results are too large"}
	relations      = []string{"=", "≠", "<", ">"}
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
	return transaction(v)
}

// transaction describes a struct of a transaction over several shards, or the result of a
// sharded command.
func transaction(v labgob.Struct) (text string, ok bool) {
	switch {
	case has(v, shardResult):
		return resultOfShard(v)
	case has(v, voteFields):
		return comparisons(v[0].Value), true
	case has(v, outcomeFields):
		problem, known := named(problems, v[2].Value)
		if known && problem != "" {
			return "aborted, because " + problem, true
		}
		return "committed, " + comparisons(v[0].Value), known
	case has(v, txnFields):
		var parts []string
		for _, f := range v {
			if list, ok := f.Value.([]any); ok && len(list) > 0 {
				parts = append(parts, strings.ToLower(f.Name)+" "+words(f.Value))
			}
		}
		return strings.Join(parts, " "), true
	case has(v, compareFields):
		relation, known := named(relations, v[1].Value)
		if v[2].Value == true {
			return fmt.Sprintf("version of %s %s %v", words(v[0].Value), relation, v[4].Value), known
		}
		return fmt.Sprintf("%s %s %s", words(v[0].Value), relation, words(v[3].Value)), known
	case has(v, idFields):
		return fmt.Sprintf("transaction %v of shard %v", v[1].Value, v[0].Value), true
	}
	return "", false
}

// comparisons says whether the comparisons of a transaction hold.
func comparisons(hold any) string {
	if hold == true {
		return "all comparisons hold"
	}
	return "a comparison fails"
}

// resultOfShard describes the result of a sharded command.
func resultOfShard(v labgob.Struct) (text string, ok bool) {
	code, known := named(shardCodes, v[0].Value)
	if !known || code != shardCodes[0] {
		return code, known
	}
	for _, f := range v[2:4] {
		if f.Value != nil {
			return words(f.Value), true
		}
	}
	return words(v[1].Value), true
}

// phase describes a step of a transaction in a shard.
func phase(kind string, shard any, v labgob.Struct) string {
	text := fmt.Sprintf("%s(%s, in shard %v", kind, words(v[0].Value), shard)
	if v[2].Value != nil {
		text += ": " + words(v[2].Value)
	}
	if kind == "outcome" || kind == "decide" {
		text += ": " + words(v[3].Value)
	}
	return text + ")"
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
	if p, ok := v[7].Value.(labgob.Struct); ok && has(p, phaseFields) {
		return phase(kind, v[1].Value, p), true
	}
	if txn, ok := v[6].Value.(labgob.Struct); ok {
		return fmt.Sprintf("transaction(%s) in shard %v", words(txn), v[1].Value), true
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
		list, ok := v.([]any)
		switch shape := shapes[names[i]]; {
		case ok && names[i] == "If":
			for k, c := range list {
				if one, ok := c.([]any); ok && len(one) == len(compareFields) {
					s[i].Value.([]any)[k] = label(compareFields, one)
				}
			}
		case ok && len(list) == len(shape):
			s[i].Value = label(shape, list)
		}
	}
	return s
}

// shapes holds the fields of structs that stand in a field with a name. Lists of msgpack do not
// tell them by themselves.
var shapes = map[string][]string{"Txn": txnFields, "Phase": phaseFields, "Part": txnFields, "Outcome": outcomeFields, "ID": idFields}

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
