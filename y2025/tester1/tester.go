// Package tester has the parts of the course's harness that servers and clients use:
// the persister, the names of servers, and a client's connections. A course's own
// package tester may take the place of this one, except for the Persister.
package tester

import (
	"fmt"
	"math/rand/v2"

	"raftlab/labrpc"
	"raftlab/raft"
)

// Tgid is the number of a group of servers.
type Tgid int

// GRP0 is the group of a service that has one group, and of the server that stores a
// shard controller's configurations.
const GRP0 = Tgid(0)

// ServerName returns the name of server i of a group on the network.
func ServerName(gid Tgid, i int) string { return fmt.Sprintf("%s-%d", GroupName(gid), i) }

// GroupName returns the beginning of the names of a group's servers.
func GroupName(gid Tgid) string { return fmt.Sprintf("server-%d", gid) }

// IService is a service of a server. The RPC handlers are the exported methods of the
// shape that package labrpc describes.
type IService interface {
	Kill()
}

// FstartServer starts server srv of a group, whose servers are at ends, and returns
// the services of the server.
type FstartServer func(ends []*labrpc.ClientEnd, gid Tgid, srv int, persister *Persister) []IService

// Persister is the stable storage of a server.
type Persister = raft.Persister

// MakePersister returns an empty Persister.
func MakePersister() *Persister { return raft.MakePersister() }

// Clnt is a client's connection to the servers. Any goroutine may call the methods.
type Clnt struct {
	call func(server, method string, args, reply any) bool
}

// MakeClnt returns a client that calls servers with call.
func MakeClnt(call func(server, method string, args, reply any) bool) *Clnt { return &Clnt{call} }

// Call calls a method of a server, and returns false if no reply arrived.
func (c *Clnt) Call(server, method string, args any, reply any) bool {
	return c.call(server, method, args, reply)
}

// Randstring returns n random characters.
func Randstring(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return string(b)
}
