package compare

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Fields that differ by nature. Only the presence counts.
var presence = map[string]bool{
	"cluster_id": true, "member_id": true, "raft_term": true,
	"token": true,
	// The layout of backups, which raftlab writes as etcd 3.6 does.
	"storageVersion": true,
	// Status: places in the log and sizes on disk.
	"leader": true, "raftIndex": true, "raftTerm": true, "raftAppliedIndex": true, "dbSize": true, "dbSizeInUse": true,
	// The hash has etcd's format of revisions in it, and only has to be the same on all
	// members of a cluster.
	"hash": true,
	// Addresses of the members.
	"peerURLs": true, "clientURLs": true,
	// The snapshot is a database, whose size and layout are the program's.
	"blob": true,
}

func valueOf(m protoreflect.Message, field string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(field)))
}

// ignored are fields of answers that one of the servers leaves out or knows otherwise.
var ignored = map[string]bool{
	"etcdserverpb.SnapshotResponse.version":         true, // raftlab writes backups as etcd 3.6 does
	"etcdserverpb.SnapshotResponse.remaining_bytes": true, // none in the last message, of which there may be one
	"etcdserverpb.MoveLeaderResponse.header":        true, // etcd sends none
	// etcd keeps the hash of a revision that is compacted next, with the compaction before.
	"etcdserverpb.HashKVResponse.compact_revision": true,
}

// owner is the end of a key of Lock or Election: a lease whose id the server chose.
var owner = regexp.MustCompile(`/[0-9a-f]{12,16}$`)

// text returns the normalized text of a message.
func (s *side) text(m protoreflect.Message) string {
	var parts []string
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := string(field.Name())
		if name == "lease" && m.Descriptor().Name() == "KeyValue" && len(valueOf(m, "value").Bytes()) == 0 {
			// etcd 3.7 leaves out the lease of keys_only ranges, and earlier versions do not.
			return true
		}
		if ignored[string(field.FullName())] {
			return true
		}
		if s != printer && presence[name] {
			parts = append(parts, name+":*")
			return true
		}
		if !field.IsList() {
			parts = append(parts, name+":"+s.value(field, v))
			return true
		}
		var elements []string
		for i := range v.List().Len() {
			elements = append(elements, s.value(field, v.List().Get(i)))
		}
		if name == "leases" || name == "members" { // by the time that is left, and by the id
			slices.Sort(elements)
		}
		parts = append(parts, name+":["+strings.Join(elements, " ")+"]")
		return true
	})
	slices.Sort(parts)
	return "{" + strings.Join(parts, " ") + "}"
}

func (s *side) value(field protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch name := strings.ToLower(string(field.Name())); field.Kind() {
	case protoreflect.MessageKind:
		return s.text(v.Message())
	case protoreflect.BytesKind:
		return strconv.Quote(shorten(owner.ReplaceAllString(string(v.Bytes()), "/lease")))
	case protoreflect.StringKind:
		text := v.String()
		if s.member != 0 {
			text = strings.ReplaceAll(text, strconv.FormatUint(s.member, 10), "member")
		}
		return strconv.Quote(shorten(text))
	case protoreflect.Int64Kind:
		return symbol(s.answered(field, name, v.Int()))
	case protoreflect.Uint64Kind:
		if v.Uint() == s.member {
			return "member"
		}
		if strings.HasSuffix(name, "id") && !within(int64(v.Uint()), memberSymbol) && v.Uint() > 1<<20 {
			return "another member"
		}
		return symbol(int64(v.Uint()))
	}
	return v.String()
}

// answered returns a number of an answer as a symbol.
func (s *side) answered(field protoreflect.FieldDescriptor, name string, n int64) int64 {
	switch {
	case strings.Contains(name, "revision"):
		return s.revision(n)
	case name == "lease", name == "id":
		if id := s.lease(n); id == n && n > 1<<53 && n != math.MaxInt64 {
			return math.MaxInt32 // a lease of a lock or an election
		} else {
			return id
		}
	case name == "ttl" && field.Parent().Name() == "LeaseTimeToLiveResponse" && n > 0:
		return (n + 60) / 60 * 60 // the time that is left
	}
	return n
}

func shorten(s string) string {
	if len(s) <= 64 {
		return s
	}
	return fmt.Sprintf("%s...(%d)", s[:16], len(s))
}

// jsonText returns the normalized text of a body, which is JSON or plain text.
func (s *side) jsonText(body []byte) string {
	var lines []string
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	for decoder.More() {
		var v any
		if decoder.Decode(&v) != nil {
			return strconv.Quote(shorten(string(body)))
		}
		out, _ := json.Marshal(s.jsonValue("", v))
		lines = append(lines, string(out))
	}
	return strings.Join(lines, " ")
}

func (s *side) jsonValue(name string, v any) any {
	if presence[name] {
		return "*"
	}
	switch v := v.(type) {
	case map[string]any:
		if _, isKV := v["mod_revision"]; isKV && v["value"] == nil {
			delete(v, "lease") // as in text
		}
		for key, value := range v {
			v[key] = s.jsonValue(key, value)
		}
	case []any:
		for i := range v {
			v[i] = s.jsonValue(name, v[i])
		}
		if name == "leases" || name == "members" {
			slices.SortFunc(v, func(a, b any) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
	case string:
		if v == strconv.FormatUint(s.member, 10) {
			return "member"
		}
		n, err := strconv.ParseInt(v, 10, 64)
		switch {
		case err != nil:
		case strings.Contains(name, "revision"):
			return symbol(s.revision(n))
		case name == "lease", name == "ID" && s.lease(n) != n:
			return symbol(s.lease(n))
		case name == "ID" && n > 1<<53 && n != math.MaxInt64:
			return "a lease or a member"
		case name == "TTL" && n > 100:
			return "about " + strconv.FormatInt((n+60)/60*60, 10)
		}
	}
	return v
}
