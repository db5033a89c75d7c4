package shardkv

import (
	"slices"
	"sync"

	"raftlab/labrpc"
	"raftlab/rsm/clerk"
)

// directory knows the servers of groups, with the ends that lead to them. It may
// be used from any goroutine.
type directory struct {
	makeEnd func(string) *labrpc.ClientEnd

	mu     sync.Mutex
	ends   map[string]*labrpc.ClientEnd
	groups map[int]listing
}

// listing is a group as the directory has it.
type listing struct {
	names   []string
	servers *clerk.Servers
}

func newDirectory(makeEnd func(string) *labrpc.ClientEnd) *directory {
	return &directory{makeEnd: makeEnd, ends: make(map[string]*labrpc.ClientEnd), groups: make(map[int]listing)}
}

// group returns a group's servers, which have these names now.
func (d *directory) group(gid int, names []string) *clerk.Servers {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l, ok := d.groups[gid]; ok && slices.Equal(l.names, names) {
		return l.servers
	}
	ends := make([]*labrpc.ClientEnd, len(names))
	for i, name := range names {
		if d.ends[name] == nil {
			d.ends[name] = d.makeEnd(name)
		}
		ends[i] = d.ends[name]
	}
	l := listing{names: slices.Clone(names), servers: clerk.NewServers(ends)}
	d.groups[gid] = l
	return l.servers
}
