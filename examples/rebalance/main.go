//go:build !wasip1

// Command rebalance puts a sharded store under load while groups leave and join, and
// prints the effect on the clients. Each step has a line with the requests, the
// failures and the slowest request.
//
//	go run ./cmd/raftlab serve --groups 3 &
//	go run ./examples/rebalance
//
// The load is plain HTTP. Each client appends to keys of its own and reads them, one
// request after the other, without retries. At the end every key is compared with the
// values that were written.
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
	clients := flag.Int("clients", 16, "number of clients")
	span := flag.Duration("step", 2*time.Second, "duration of the load after each change")
	flag.Parse()
	if err := Run(os.Stdout, *server, *clients, *span); err != nil {
		fmt.Fprintln(os.Stderr, "rebalance:", err)
		os.Exit(1)
	}
}
