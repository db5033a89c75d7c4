package compare

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"raftlab/internal/etcdapi/v3electionpb"
	"raftlab/internal/etcdapi/v3lockpb"
)

func sortedNames(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) }

var kvMethods = weighted(map[string]int{
	"KV/Put": 8, "KV/Range": 8, "KV/DeleteRange": 3, "KV/Txn": 6, "KV/Compact": 1, "KV/RangeStream": 1,
	"Lease/LeaseGrant": 2, "Lease/LeaseRevoke": 1, "Lease/LeaseTimeToLive": 1, "Lease/LeaseLeases": 1, "Lease/LeaseKeepAlive": 1,
})

func keysAndLeases(r *rand.Rand) (sequence []request) {
	for range r.IntN(6) {
		sequence = append(sequence, random(r, "KV/Put"))
	}
	for range 20 {
		sequence = append(sequence, random(r, pick(r, kvMethods)))
	}
	return sequence
}

// watches has streams of watches, and changes of keys. etcd looks for earlier events of a new
// watch every 100 ms, so a cancellation or compaction waits for all events.
func watches(r *rand.Rand) (sequence []request) {
	changes := weighted(map[string]int{"KV/Put": 6, "KV/DeleteRange": 2, "KV/Txn": 2, "KV/Compact": 1})
	for range 25 {
		if r.IntN(3) > 0 {
			change := random(r, pick(r, changes))
			if change.method == "KV/Compact" {
				sequence = append(sequence, watched{})
			}
			sequence = append(sequence, change)
			continue
		}
		in := &pb.WatchRequest{}
		fill(r, in.ProtoReflect(), deepest)
		if in.GetCancelRequest() != nil {
			sequence = append(sequence, watched{})
		}
		sequence = append(sequence, watchStep{stream: pick(r, []string{"first", "second"}), in: in})
	}
	return append(sequence, watched{})
}

var (
	authMethods = []string{
		"Auth/UserAdd", "Auth/UserAdd", "Auth/UserGet", "Auth/UserList", "Auth/UserDelete", "Auth/UserChangePassword", "Auth/UserGrantRole", "Auth/UserGrantRole", "Auth/UserRevokeRole",
		"Auth/RoleAdd", "Auth/RoleAdd", "Auth/RoleGet", "Auth/RoleList", "Auth/RoleDelete", "Auth/RoleGrantPermission", "Auth/RoleGrantPermission", "Auth/RoleGrantPermission", "Auth/RoleRevokePermission",
		"Auth/Authenticate", "Auth/Authenticate", "Auth/AuthStatus", "Auth/AuthEnable", "Auth/AuthEnable", "Auth/AuthDisable",
	}
	clusterMethods = []string{
		"Cluster/MemberList", "Cluster/MemberAdd", "Cluster/MemberAdd", "Cluster/MemberRemove", "Cluster/MemberUpdate", "Cluster/MemberPromote",
		"Maintenance/Alarm", "Maintenance/Alarm", "Maintenance/Status", "Maintenance/Defragment", "Maintenance/Hash", "Maintenance/HashKV",
		"Maintenance/Snapshot", "Maintenance/MoveLeader", "Maintenance/Downgrade", "KV/Put", "KV/Range", "KV/Compact", "Lease/LeaseGrant",
	}
	lockMethods = []string{
		"Lock/Lock", "Lock/Unlock", "Election/Campaign", "Election/Proclaim", "Election/Leader", "Election/Resign", "Lease/LeaseGrant", "KV/Put", "KV/Range",
	}
)

// withUsers is the begin of most sequences about users: authentication with root, and with
// alice, who has the role r1.
func withUsers(r *rand.Rand) (sequence []request) {
	add := func(method string, in proto.Message) { sequence = append(sequence, call{method: method, in: in}) }
	add("KV/Put", &pb.PutRequest{Key: []byte("a"), Value: []byte("1")})
	add("KV/Put", &pb.PutRequest{Key: []byte("c"), Value: []byte("1")})
	for _, pair := range [][2]string{{"root", "root"}, {"alice", "r1"}} {
		user, role := pair[0], pair[1]
		add("Auth/UserAdd", &pb.AuthUserAddRequest{Name: user, Password: "pw"})
		add("Auth/RoleAdd", &pb.AuthRoleAddRequest{Name: role})
		add("Auth/UserGrantRole", &pb.AuthUserGrantRoleRequest{User: user, Role: role})
	}
	for range r.IntN(3) {
		kind := pick(r, []authpb.Permission_Type{authpb.READ, authpb.WRITE, authpb.READWRITE})
		perm := &authpb.Permission{PermType: kind, Key: []byte(pick(r, keys)), RangeEnd: []byte(pick(r, append([]string{"", ""}, ends...)))}
		add("Auth/RoleGrantPermission", &pb.AuthRoleGrantPermissionRequest{Name: "r1", Perm: perm})
	}
	add("Auth/AuthEnable", &pb.AuthEnableRequest{})
	add("Auth/Authenticate", &pb.AuthenticateRequest{Name: "root", Password: "pw"})
	add("Auth/Authenticate", &pb.AuthenticateRequest{Name: "alice", Password: "pw"})
	return sequence
}

// usersAndRoles has requests of several users.
func usersAndRoles(r *rand.Rand) (sequence []request) {
	if r.IntN(4) > 0 {
		sequence = withUsers(r)
	}
	methods := slices.Concat(authMethods, authMethods, kvMethods, clusterMethods, lockMethods)
	for i := range 25 {
		c := random(r, pick(r, methods)).at(i)
		c.user = pick(r, []string{"root", "root", "alice", "alice", "alice", "bob", ""})
		if r.IntN(20) == 0 {
			c.user, c.header = "", []string{"token", pick(r, []string{"x", "", "x.1"})}
		}
		sequence = append(sequence, harmless(c))
	}
	return sequence
}

// harmless returns the call, without what would leave a cluster without a majority or a
// request without an end.
func harmless(c call) call {
	if c.user != "" {
		straight(c.in.ProtoReflect())
	}
	switch in := c.in.(type) {
	case *pb.MemberAddRequest:
		// A member of etcd may have several URLs, and sockets. A second voter that never
		// starts would take the majority away in etcd.
		in.PeerURLs = in.PeerURLs[:min(1, len(in.PeerURLs))]
		in.IsLearner = in.IsLearner || len(in.PeerURLs) > 0
	case *pb.AlarmRequest:
		// With this alarm raftlab refuses reads, too.
		if in.Alarm == pb.AlarmType_CORRUPT {
			in.Action = pb.AlarmRequest_GET
		}
	case *v3electionpb.ProclaimRequest:
		withLease(in.Leader)
	case *v3electionpb.ResignRequest:
		withLease(in.Leader)
	case *pb.MemberUpdateRequest:
		// etcd takes any text as a member's URL, and raftlab one address.
		if in.ID == uint64(memberSymbol) {
			in.PeerURLs = peerURLs[:1]
		}
	case *pb.HashKVRequest:
		in.Revision = max(in.Revision, 0) // etcd hashes nothing up to a negative revision
	case *v3lockpb.LockRequest:
		in.Name = ownName(in.Lease, c.place)
	case *v3electionpb.CampaignRequest:
		in.Name = ownName(in.Lease, c.place)
	}
	return c
}

// withLease names a lease if there is none. etcd grants a new lease then.
func withLease(leader *v3electionpb.LeaderKey) {
	if leader != nil && leader.Lease == 0 {
		leader.Lease = 7
	}
}

// straight clears the end of a range that is not behind the range's begin. raftlab asks for
// no permission to an empty range, and etcd asks for one to the begin.
func straight(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	if key, end := fields.ByName("key"), fields.ByName("range_end"); key != nil && end != nil {
		if e := string(m.Get(end).Bytes()); e != "\x00" && e <= string(m.Get(key).Bytes()) {
			m.Clear(end)
		}
	}
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.Kind() == protoreflect.MessageKind && field.IsList():
			for i := range v.List().Len() {
				straight(v.List().Get(i).Message())
			}
		case field.Kind() == protoreflect.MessageKind:
			straight(v.Message())
		}
		return true
	})
}

// ownName returns the name of a lock or an election without another owner, so the request
// does not wait.
func ownName(lease int64, i int) []byte {
	if lease == 0 {
		return fmt.Appendf(nil, "own%d", i)
	}
	return fmt.Appendf(nil, "of%s", symbol(lease))
}

func clusterAndMaintenance(r *rand.Rand) (sequence []request) {
	for i := range 15 {
		sequence = append(sequence, harmless(random(r, pick(r, clusterMethods)).at(i)))
	}
	return sequence
}

func TestCompare(t *testing.T) {
	p := newPair(t)
	t.Run("keys", func(t *testing.T) { compare(t, p, 30, keysAndLeases) })
	t.Run("watches", func(t *testing.T) { compare(t, p, 5, watches) })
	t.Run("users", func(t *testing.T) { compare(t, p, 20, usersAndRoles) })
	t.Run("cluster", func(t *testing.T) { compare(t, p, 20, clusterAndMaintenance) })
	t.Run("locks", func(t *testing.T) { compare(t, p, 20, locksAndElections) })
	t.Run("pages", func(t *testing.T) { compare(t, p, 20, gatewayAndProbes) })
}

func locksAndElections(r *rand.Rand) (sequence []request) {
	for i := range 15 {
		sequence = append(sequence, harmless(random(r, pick(r, lockMethods)).at(i)))
	}
	return sequence
}
