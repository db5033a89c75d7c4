package shardkv

import (
	"slices"
	"sync"

	"raftlab/labrpc"
	"raftlab/rsm/clerk"
)

// directory holds the ends to the servers of groups. Any goroutine may use a
// directory.
type directory struct {
	makeEnd func(string) *labrpc.ClientEnd

	mu     sync.Mutex
	ends   map[string]*labrpc.ClientEnd
	groups map[int]listing
}

// listing is the entry of a group.
type listing struct {
	names   []string
	servers *clerk.Servers
}

func newDirectory(makeEnd func(string) *labrpc.ClientEnd) *directory {
	return &directory{makeEnd: makeEnd, ends: make(map[string]*labrpc.ClientEnd), groups: make(map[int]listing)}
}

// group returns the servers of a group. names are their present names.
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
