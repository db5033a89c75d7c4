package shardctrler

import (
	"crypto/rand"
	"math/big"

	"raftlab/labrpc"
)

// Clerk is a client of the controller.
type Clerk struct {
	servers   []*labrpc.ClientEnd
	leaderId  int
	clientId  int64
	commandId int
}

func nrand() int64 {
	max := big.NewInt(int64(1) << 62)
	bigx, _ := rand.Int(rand.Reader, max)
	return bigx.Int64()
}

// MakeClerk makes a client of servers.
func MakeClerk(servers []*labrpc.ClientEnd) *Clerk {
	return &Clerk{servers: servers, clientId: nrand()}
}

// Query returns the configuration with a number.
func (ck *Clerk) Query(num int) Config {
	return ck.command(CommandArgs{Op: "Query", Num: num})
}

// Join adds groups.
func (ck *Clerk) Join(servers map[int][]string) {
	ck.command(CommandArgs{Op: "Join", Servers: servers})
}

// Leave removes groups.
func (ck *Clerk) Leave(gids []int) {
	ck.command(CommandArgs{Op: "Leave", GIDs: gids})
}

// Move gives a shard to a group.
func (ck *Clerk) Move(shard int, gid int) {
	ck.command(CommandArgs{Op: "Move", Shard: shard, GID: gid})
}

func (ck *Clerk) command(args CommandArgs) Config {
	ck.commandId++
	args.ClientId, args.CommandId = ck.clientId, ck.commandId
	for {
		reply := CommandReply{}
		if ck.servers[ck.leaderId].Call("ShardCtrler.Command", &args, &reply) && reply.Err == OK {
			return reply.Config
		}
		ck.leaderId = (ck.leaderId + 1) % len(ck.servers)
	}
}
