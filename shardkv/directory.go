package shardkv

import (
	"slices"
	"sync"
	"time"

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
	patient *clerk.Servers // the same servers, for large commands and results
}

// largePatience is the time that a server has to answer a large command before the
// clerk asks the next server. Each attempt sends the whole command again.
const largePatience = holdLarge + 200*time.Millisecond

func newDirectory(makeEnd func(string) *labrpc.ClientEnd) *directory {
	return &directory{makeEnd: makeEnd, ends: make(map[string]*labrpc.ClientEnd), groups: make(map[int]listing)}
}

// group returns the servers of a group. names are the present names of the servers.
// For large commands the clerk is patient.
func (d *directory) group(gid int, names []string, large bool) *clerk.Servers {
	l := d.listing(gid, names)
	if large {
		return l.patient
	}
	return l.servers
}

func (d *directory) listing(gid int, names []string) listing {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l, ok := d.groups[gid]; ok && slices.Equal(l.names, names) {
		return l
	}
	ends := make([]*labrpc.ClientEnd, len(names))
	for i, name := range names {
		if d.ends[name] == nil {
			d.ends[name] = d.makeEnd(name)
		}
		ends[i] = d.ends[name]
	}
	l := listing{names: slices.Clone(names), servers: clerk.NewServers(ends), patient: clerk.NewServers(ends)}
	l.patient.Patience = largePatience
	d.groups[gid] = l
	return l
}
