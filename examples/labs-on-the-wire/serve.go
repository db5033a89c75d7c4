//go:build !wasip1

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"

	"raftlab/examples/labs-on-the-wire/disk"
	"raftlab/kvraft"
	"raftlab/labrpc"
	"raftlab/raft"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

// maxraftstate bounds the log. A server writes its whole file for each change, so the log
// should be small.
const maxraftstate = 16 << 10

// serve starts the servers of one process.
func (c config) serve(me int) error {
	if !c.shards {
		return c.start(store, me, func(p place) []any {
			kv := kvraft.StartKVServer(p.ends, me, p.persister, maxraftstate)
			return []any{kv, raftOf(kv)}
		})
	}
	err := c.start(controllers, me, func(p place) []any {
		sc := shardctrler.StartServer(p.ends, me, p.persister)
		return []any{sc, raftOf(sc)}
	})
	for gid := 1; gid <= c.groups; gid++ {
		err = errors.Join(err, c.start(controllers+gid, me, func(p place) []any {
			kv := shardkv.StartServer(p.ends, me, p.persister, maxraftstate, gid, c.ends(p.net, controllers), p.net.MakeEnd)
			return []any{kv, raftOf(kv)}
		}))
	}
	return err
}

// A place is what the labs give to a server.
type place struct {
	net       *labrpc.TCPNetwork
	ends      []*labrpc.ClientEnd
	persister *raft.Persister
}

// start starts server me of a group. The port comes before the file. A second process
// for the same server finds the port taken and leaves the file alone.
func (c config) start(group, me int, services func(place) []any) error {
	listener, err := net.Listen("tcp", c.addresses(group)[me])
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	d, err := disk.Open(filepath.Join(c.dir, fmt.Sprintf("group-%d-server-%d", group, me)))
	if err != nil {
		return err
	}
	tn := labrpc.MakeTCPNetwork(labrpc.TCPOptions{BeforeSend: d.Flush})
	rs := labrpc.MakeServer()
	for _, s := range services(place{tn, c.ends(tn, group), d.Persister()}) {
		rs.AddService(labrpc.MakeService(s))
	}
	_, err = tn.Serve(listener, rs)
	return err
}

// raftOf returns the Raft server of a service, which the labs keep in the field rf.
func raftOf(service any) *raft.Raft {
	return (*raft.Raft)(reflect.ValueOf(service).Elem().FieldByName("rf").UnsafePointer())
}
