//go:build !wasip1

// Command rebalance puts a sharded store under load while its groups leave and
// join, and prints what the clients notice of it: a line for each step, with the
// requests, those that failed, and the slowest.
//
//	go run ./cmd/raftlab serve --groups 3 &
//	go run ./examples/rebalance
//
// The load is plain HTTP: each client appends to keys of its own and reads them,
// one request after the other, and no request is tried again. At the end every
// key is compared with what was written to it.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	server := flag.String("server", cmp.Or(os.Getenv("RAFTLAB_SERVER"), "http://127.0.0.1:8400"), "the server's URL (also: RAFTLAB_SERVER)")
	clients := flag.Int("clients", 16, "how many clients there are")
	span := flag.Duration("step", 2*time.Second, "how long the load goes on after each change")
	flag.Parse()
	if err := Run(os.Stdout, *server, *clients, *span); err != nil {
		fmt.Fprintln(os.Stderr, "rebalance:", err)
		os.Exit(1)
	}
}
