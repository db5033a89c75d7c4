//go:build !wasip1

// Command labs-on-the-wire runs the labs' services in processes of their own, which
// talk over TCP on the loopback interface. The services are those of packages kvraft,
// shardctrler and shardkv, or a student's in their place, without changes. Run one
// server in each of three terminals.
//
//	go run ./examples/labs-on-the-wire server 0
//	go run ./examples/labs-on-the-wire server 1
//	go run ./examples/labs-on-the-wire server 2
//
// Run clerks in a fourth terminal.
//
//	go run ./examples/labs-on-the-wire append greeting hello
//	go run ./examples/labs-on-the-wire get greeting
//
// Kill a server with SIGKILL and start the server again. Every append happens once.
//
// With -shards the processes serve a sharded store. Each process then runs a server of
// the controllers and a server of each group. The commands join, leave and query
// change and show the configuration.
//
//	go run ./examples/labs-on-the-wire -shards join 1
//	go run ./examples/labs-on-the-wire -shards join 2
//	go run ./examples/labs-on-the-wire -shards append greeting hello
//	go run ./examples/labs-on-the-wire -shards query
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"raftlab/kvraft"
	"raftlab/labrpc"
	"raftlab/shardctrler"
	"raftlab/shardkv"
)

const usage = `usage: labs-on-the-wire [flags] COMMAND
  server N                     run server N, from 0
  get KEY, put KEY VALUE, append KEY VALUE
  join GROUP, leave GROUP, query     with -shards, for groups from 1
  -help                        show the flags
`

func main() {
	var c config
	flags := flag.NewFlagSet("labs-on-the-wire", flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage, "flags:\n"); flags.PrintDefaults() }
	flags.IntVar(&c.port, "port", 7100, "first port; server N of Raft group G listens on port + 10*G + N")
	flags.IntVar(&c.servers, "servers", 3, "number of servers of each Raft group, at most 10")
	flags.StringVar(&c.dir, "dir", "wire-data", "directory of the servers' files")
	flags.BoolVar(&c.shards, "shards", false, "shardkv and shardctrler in place of kvraft")
	flags.IntVar(&c.groups, "groups", 2, "with -shards, number of groups that a server runs")
	_ = flags.Parse(os.Args[1:]) // exits on an error
	if err := c.run(os.Stdout, flags.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "labs-on-the-wire:", err)
		os.Exit(1)
	}
}

// config is the cluster, as all its processes must know it.
type config struct {
	port, servers, groups int
	dir                   string
	shards                bool
}

// The groups of servers. Group number n of shardkv is controllers + n.
const (
	store       = 0 // of kvraft
	controllers = 1
)

func (c config) addresses(group int) []string {
	addresses := make([]string, c.servers)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("127.0.0.1:%d", c.port+10*group+i)
	}
	return addresses
}

// ends makes ends to all servers of a group.
func (c config) ends(tn *labrpc.TCPNetwork, group int) []*labrpc.ClientEnd {
	var ends []*labrpc.ClientEnd
	for _, address := range c.addresses(group) {
		ends = append(ends, tn.MakeEnd(address))
	}
	return ends
}

func (c config) run(out io.Writer, args []string) error {
	if c.servers < 1 || c.servers > 10 {
		return fmt.Errorf("-servers is %d; want 1 to 10", c.servers)
	}
	wanted := map[string]int{"server": 2, "get": 2, "put": 3, "append": 3, "join": 2, "leave": 2, "query": 1}
	if len(args) == 0 || len(args) != wanted[args[0]] {
		return fmt.Errorf("%q is no command with its arguments\n%s", strings.Join(args, " "), usage)
	}
	switch command := args[0]; command {
	case "server":
		me, err := strconv.Atoi(args[1])
		if err != nil || me < 0 || me >= c.servers {
			return fmt.Errorf("server %q; want 0 to %d", args[1], c.servers-1)
		}
		if err := c.serve(me); err != nil {
			return err
		}
		fmt.Fprintf(out, "server %d is ready\n", me)
		select {} // until a signal
	case "join", "leave", "query":
		return c.configure(out, args)
	default:
		return c.operate(out, args)
	}
}

// A clerk is the clerk of kvraft or of shardkv.
type clerk interface {
	Get(key string) string
	Put(key, value string)
	Append(key, value string)
}

func (c config) clerk(tn *labrpc.TCPNetwork) clerk {
	if c.shards {
		return shardkv.MakeClerk(c.ends(tn, controllers), tn.MakeEnd)
	}
	return kvraft.MakeClerk(c.ends(tn, store))
}

func (c config) operate(out io.Writer, args []string) error {
	tn := labrpc.MakeTCPNetwork(labrpc.TCPOptions{})
	defer tn.Close()
	ck := c.clerk(tn)
	switch args[0] {
	case "get":
		fmt.Fprintln(out, ck.Get(args[1]))
	case "put":
		ck.Put(args[1], args[2])
	case "append":
		ck.Append(args[1], args[2])
	}
	return nil
}

// configure is a command for the controllers.
func (c config) configure(out io.Writer, args []string) error {
	if !c.shards {
		return fmt.Errorf("%s needs -shards", args[0])
	}
	tn := labrpc.MakeTCPNetwork(labrpc.TCPOptions{})
	defer tn.Close()
	ck := shardctrler.MakeClerk(c.ends(tn, controllers))
	if args[0] == "query" {
		fmt.Fprintf(out, "%+v\n", ck.Query(-1))
		return nil
	}
	gid, err := strconv.Atoi(args[1])
	if err != nil || gid < 1 || gid > c.groups {
		return fmt.Errorf("group %q; want 1 to %d", args[1], c.groups)
	}
	if args[0] == "leave" {
		ck.Leave([]int{gid})
	} else {
		ck.Join(map[int][]string{gid: c.addresses(controllers + gid)})
	}
	return nil
}
