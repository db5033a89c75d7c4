package shardkv

import (
	"math/rand/v2"
	"time"

	"raftlab/labrpc"
	"raftlab/shardctrler"
)

type Clerk struct {
	ctrler *shardctrler.Clerk
	config shardctrler.Config
	end    func(string) *labrpc.ClientEnd
	ends   map[string]*labrpc.ClientEnd
	leader string // the server that answered last
	id     int64
	seq    int64
}

func MakeClerk(ctrlers []*labrpc.ClientEnd, make_end func(string) *labrpc.ClientEnd) *Clerk {
	return &Clerk{
		ctrler: shardctrler.MakeClerk(ctrlers),
		end:    make_end,
		ends:   map[string]*labrpc.ClientEnd{},
		id:     rand.Int64(),
	}
}

func (ck *Clerk) Get(key string) string {
	return ck.do(Request{Kind: get, Key: key})
}

func (ck *Clerk) Put(key string, value string) {
	ck.do(Request{Kind: put, Key: key, Value: value})
}

func (ck *Clerk) Append(key string, value string) {
	ck.do(Request{Kind: add, Key: key, Value: value})
}

func (ck *Clerk) do(r Request) string {
	ck.seq++
	r.Client, r.Seq = ck.id, ck.seq
	for {
		servers := ck.config.Groups[ck.config.Shards[key2shard(r.Key)]]
		for _, server := range ck.leaderFirst(servers) {
			reply := Reply{}
			if !ck.call(server, &r, &reply) {
				continue
			}
			if reply.Code == done {
				ck.leader = server
				return reply.Value
			}
			if reply.Code == wrongGroup {
				break
			}
		}
		time.Sleep(40 * time.Millisecond)
		ck.config = ck.ctrler.Query(-1)
	}
}

// leaderFirst returns the servers of a group, the one that answered last in front.
func (ck *Clerk) leaderFirst(servers []string) []string {
	var order []string
	for _, server := range servers {
		if server == ck.leader {
			order = append([]string{server}, order...)
		} else {
			order = append(order, server)
		}
	}
	return order
}

func (ck *Clerk) call(server string, r *Request, reply *Reply) bool {
	end, ok := ck.ends[server]
	if !ok {
		end = ck.end(server)
		ck.ends[server] = end
	}
	return end.Call("ShardKV.Do", r, reply)
}
