package compare

import (
	"math/rand/v2"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// paths are those of the services that name no paths themselves.
var paths = map[string]string{
	"Lock/Lock": "/v3/lock/lock", "Lock/Unlock": "/v3/lock/unlock", "Election/Campaign": "/v3/election/campaign",
	"Election/Proclaim": "/v3/election/proclaim", "Election/Leader": "/v3/election/leader", "Election/Resign": "/v3/election/resign",
}

// pathOf returns the path of a method in the JSON gateway.
func pathOf(method string) string {
	if path := paths[method]; path != "" {
		return path
	}
	description, _ := describe(method)
	return proto.GetExtension(description.Options(), annotations.E_Http).(*annotations.HttpRule).GetPost()
}

// damages change a body of JSON.
var damages = []func(r *rand.Rand, body string) string{
	func(r *rand.Rand, body string) string { return body[:r.IntN(len(body)+1)] },
	func(r *rand.Rand, body string) string { return strings.Replace(body, "{", `{"unknown":[{"x":1}],`, 1) },
	func(r *rand.Rand, body string) string { return strings.ReplaceAll(body, "=", "") }, // base64 without padding
	func(r *rand.Rand, body string) string { return strings.NewReplacer("+", "-", "/", "_").Replace(body) },
	func(r *rand.Rand, body string) string { return strings.Replace(body, `":"`, `":"!`, 1) },
	func(r *rand.Rand, body string) string { return strings.Replace(body, "true", `"true"`, 1) },
	func(r *rand.Rand, body string) string { return strings.Replace(body, "true", "null", 1) },
	func(r *rand.Rand, body string) string { return body + body },
	func(r *rand.Rand, body string) string { return "[" + body + "]" },
	func(*rand.Rand, string) string { return "" },
	func(*rand.Rand, string) string { return "null" },
}

// probes are pages beside the gateway.
var probes = []string{
	"/health", "/health?serializable=true", "/health?serializable=x", "/health?exclude=NOSPACE", "/health?exclude=x&exclude=CORRUPT", "/version", "/version/",
	"/livez", "/livez?exclude=x", "/livez/serializable_read", "/livez/x", "/readyz",
	"/readyz?allowlist=x", "/readyz/data_corruption", "/readyz/linearizable_read", "/readyz/", "/x", "/v2/keys", "/v3/", "/v3/x", "/v3/kv/range/", "/v3//kv/range",
}

func gatewayAndProbes(r *rand.Rand) (sequence []request) {
	methods := append(weighted(map[string]int{"Maintenance/Status": 2, "Cluster/MemberList": 1, "Auth/UserAdd": 1, "Auth/UserGet": 1, "Auth/RoleAdd": 1, "Auth/AuthEnable": 1, "Auth/Authenticate": 1, "Lease/LeaseKeepAlive": 1, "Lock/Unlock": 1, "Election/Leader": 1, "Election/Proclaim": 1, "Maintenance/Alarm": 1}), kvMethods...)
	for i := range 15 {
		p := page{verb: "POST"}
		if r.IntN(4) == 0 {
			p.verb, p.path = "GET", pick(r, probes)
			sequence = append(sequence, p)
			continue
		}
		c := harmless(random(r, pick(r, methods)).at(i))
		for pathOf(c.method) == "" {
			c = harmless(random(r, pick(r, methods)).at(i))
		}
		if grant, ok := c.in.(*pb.LeaseGrantRequest); ok && grant.ID == 0 {
			grant.ID = 7
		}
		p.path = pathOf(c.method)
		body, err := protojson.MarshalOptions{UseProtoNames: r.IntN(3) > 0, UseEnumNumbers: r.IntN(2) == 0}.Marshal(c.in)
		if err != nil {
			panic(err)
		}
		p.body = strings.ReplaceAll(string(body), `, "`, `,"`)
		if r.IntN(5) == 0 {
			p.body = pick(r, damages)(r, p.body)
		}
		if r.IntN(10) == 0 {
			p.verb = pick(r, []string{"GET", "PUT", "DELETE", "HEAD"})
		}
		p.header = []string{"Content-Type", pick(r, []string{"application/json", "application/json", "text/plain", "application/x-www-form-urlencoded", "application/grpc"})}
		if r.IntN(10) == 0 {
			p.header = append(p.header, pick(r, []string{"Accept", "Authorization", "Grpc-Metadata-hasleader"}), pick(r, []string{"x", "true", "text/html"}))
		}
		sequence = append(sequence, p)
	}
	return sequence
}
