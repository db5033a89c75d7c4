package compare

import (
	"math"
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Values of fields. A value that comes twice is more frequent.
var (
	keys      = []string{"a", "a", "b", "b", "ab", "a/1", "a/2", "c", "a", "b", "a/1", "ab", "\x00", "\xff"}
	ends      = []string{"b", "c", "d", "a0", "\x00", "\x00", "a\x00", "a", "\x01", "\xff", "\xff\xff"}
	values    = []string{"", "1", "1", "2", "x", "\x00\xff"}
	limits    = []int64{1, 1, 2, 3, 0, -1, math.MaxInt64, math.MinInt64}
	revisions = []int64{at(1), at(2), at(3), at(4), at(5), at(7), at(0), at(-1), at(100), 1, 0, -1, math.MaxInt64, math.MinInt64}
	leases    = []int64{7, 7, 8, leaseSymbol, leaseSymbol + 1, 0, -1, math.MaxInt64}
	ttls      = []int64{600, 600, 6000, 60, 0, -1, 9000000000, 9000000001, math.MaxInt64}
	users     = []string{"root", "root", "alice", "alice", "bob", "odd /\x00é", ""}
	roles     = []string{"root", "r1", "r1", "r2", "odd /\x00é", ""}
	passwords = []string{"pw", "pw", "", "other"}
	members   = []int64{memberSymbol, 0, 1, 12345}
	watchIDs  = []int64{0, 0, 0, 1, 2, 5, -1, math.MaxInt64}
	peerURLs  = []string{"http://127.0.0.1:9", "http://127.0.0.1:10", "", "127.0.0.1:9", "http://127.0.0.1", "ftp://127.0.0.1:1", "http://127.0.0.1:9/path"}
	// raftlab has no target of a downgrade, so 3.6 is missing.
	versions = []string{"3.7.0", "3.5.0", "3.8.0", "", "x"}
	hashes   = []string{"", "", "", "x", "JDJhJDA0JDdFcWJIQU1xVVNuMkd2bGlSc2RXS2V4SXVPZ1JaNjJaQk9jSlp5eHZ0bkZaQkx5dW5oZk1p"}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// chances are those of fields that are seldom or often set.
var chances = map[string]float64{
	"key": 0.995, "name": 0.95, "role": 0.95, "user": 0.95, "ID": 0.9, "TTL": 0.9, "perm": 0.97, "permType": 0.7,
	"password": 0.9, "revision": 0.2, "start_revision": 0.5, "limit": 0.25, "range_end": 0.4, "lease": 0.2,
	"min_mod_revision": 0.1, "max_mod_revision": 0.1, "min_create_revision": 0.1, "max_create_revision": 0.1,
	"sort_order": 0.4, "sort_target": 0.4, "keys_only": 0.1, "count_only": 0.1, "ignore_value": 0.12, "ignore_lease": 0.12,
	"watch_id": 0.4, "value": 0.9, "hashedPassword": 0.1, "options": 0.2, "leader": 1, "fragment": 0.2, "filters": 0.3,
}

// deepest bounds the nesting of messages.
const deepest = 5

// fill sets random fields of a message.
func fill(r *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		name := string(field.Name())
		chance, ok := chances[name]
		if !ok {
			chance = 0.35
		}
		if strings.Contains(string(m.Descriptor().Name()), "Compaction") && name == "revision" {
			chance = 0.97
		}
		if depth < deepest && name == "revision" && r.Float64() < 0.7 {
			continue // most of the revisions are wrong, and one wrong one fails a transaction
		}
		if o := field.ContainingOneof(); o != nil || r.Float64() >= chance {
			continue
		}
		fillField(r, m, field, depth)
	}
	oneofs := m.Descriptor().Oneofs()
	for i := range oneofs.Len() {
		if r.Float64() < 0.96 {
			choice := oneofs.Get(i).Fields()
			fillField(r, m, choice.Get(r.IntN(choice.Len())), depth)
		}
	}
}

func fillField(r *rand.Rand, m protoreflect.Message, field protoreflect.FieldDescriptor, depth int) {
	message := field.Kind() == protoreflect.MessageKind
	switch {
	case message && depth == 0:
	case field.IsList():
		for range r.IntN(4) {
			if message {
				fill(r, m.Mutable(field).List().AppendMutable().Message(), depth-1)
			} else {
				m.Mutable(field).List().Append(scalar(r, field, depth))
			}
		}
	case message:
		fill(r, m.Mutable(field).Message(), depth-1)
	default:
		m.Set(field, scalar(r, field, depth))
	}
}

// scalar returns a value of a field by the field's name.
func scalar(r *rand.Rand, field protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		n := r.IntN(field.Enum().Values().Len())
		// raftlab refuses a comparison with an unknown target or result, and an unknown kind of
		// permission. In etcd such a comparison holds or fails by accident, and such a
		// permission permits nothing. An unknown action for an alarm ends etcd.
		if known := field.Parent().Name(); r.IntN(40) == 0 && known != "Compare" && known != "Permission" && known != "AlarmRequest" {
			n = pick(r, []int{-1, 9})
		}
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n))
	case protoreflect.Int64Kind:
		n := pick(r, integers(field))
		if field.Name() == "revision" && depth < deepest && n < 0 {
			// A range in a transaction has no negative revision. etcd refuses such a range as
			// compacted, and raftlab reads the newest state, as etcd does without a transaction.
			n = 0
		}
		return protoreflect.ValueOfInt64(n)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(pick(r, members)))
	case protoreflect.BytesKind:
		text := pick(r, texts(field))
		if field.Parent().Name() == "DeleteRangeRequest" && depth < deepest-2 {
			// In etcd one of two nested transactions may put a key and the next one delete the
			// key, while the other order is refused. raftlab refuses both orders.
			text = map[string]string{"key": "nested", "range_end": "nested0"}[string(field.Name())]
		}
		if field.FullName() == "etcdserverpb.DeleteRangeRequest.range_end" && depth < deepest && text == "\x00" {
			// etcd takes the range from a key on for an empty one when it looks for a put of a
			// deleted key in a transaction. raftlab refuses such a put.
			text = "z"
		}
		return protoreflect.ValueOfBytes([]byte(text))
	default:
		return protoreflect.ValueOfString(pick(r, texts(field)))
	}
}

func integers(field protoreflect.FieldDescriptor) []int64 {
	switch name := strings.ToLower(string(field.Name())); {
	case strings.Contains(name, "revision"):
		return revisions
	case name == "rev": // of a leader
		return []int64{at(1), at(1), at(2), at(3), 0, 1}
	case name == "ttl":
		return ttls
	case name == "lease", name == "id":
		return leases
	case name == "watch_id":
		return watchIDs
	case name == "version":
		return []int64{0, 1, 1, 2, -1}
	}
	return limits
}

func texts(field protoreflect.FieldDescriptor) []string {
	message := string(field.Parent().Name())
	switch name := string(field.Name()); {
	case name == "range_end":
		return ends
	case message == "LeaderKey" && name == "key":
		return []string{"of7/7", "of7/7", "of8/8", "a", ""}
	case name == "name" && (message == "LeaderRequest" || message == "LeaderKey"):
		return []string{"of7", "of7", "of8", "own1", "a", ""}
	case message == "UnlockRequest":
		return []string{"of7/7", "of7/7", "of8/8", "a", ""}
	case name == "value":
		return values
	case name == "peerURLs":
		return peerURLs
	case name == "password":
		return passwords
	case name == "hashedPassword":
		return hashes
	case name == "version":
		return versions
	case name == "role", name == "name" && strings.Contains(message, "Role"):
		return roles
	case name == "user", name == "name" && strings.Contains(message, "Auth"):
		return users
	}
	return keys
}

// random returns a call of a method with a random message.
func random(r *rand.Rand, method string) call {
	description, _ := describe(method)
	in := newMessage(description.Input())
	fill(r, in.ProtoReflect(), deepest)
	return call{method: method, in: in, times: 1 + r.IntN(2)}
}

// weighted are methods by their frequency.
func weighted(methods map[string]int) (all []string) {
	for _, name := range sortedNames(methods) {
		for range methods[name] {
			all = append(all, name)
		}
	}
	return all
}
