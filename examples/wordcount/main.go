//go:build !wasip1

// Command wordcount counts the words of a text with the help of a running
// raftlab serve: 16 clients add to one counter for each word, over HTTP and with nothing
// but net/http. In the middle of it the replica that leads is stopped. At the end the counts
// are compared with those that one loop over the text gives.
//
//	go run ./cmd/raftlab serve &
//	go run ./examples/wordcount            # the text that comes with it
//	go run ./examples/wordcount -file book.txt
//
// A counter is read, and written back one higher on the condition that nobody
// else wrote it meanwhile: If-Match with the ETag that came with the value, or
// If-None-Match: * for a word that is new. Who comes too late is told so (412), and tries
// again. The Idempotency-Key has a request that must be repeated, because its answer
// was lost, count once.
package main

import (
	"cmp"
	_ "embed"
	"flag"
	"fmt"
	"os"
)

//go:embed text.txt
var text string

func main() {
	server := flag.String("server", cmp.Or(os.Getenv("RAFTLAB_SERVER"), "http://127.0.0.1:8400"), "the server's URL (also: RAFTLAB_SERVER)")
	file := flag.String("file", "", "the text; default: one of the example's own")
	clients := flag.Int("clients", 16, "how many clients count at the same time")
	stop := flag.Bool("stop", true, "stop the replica that leads, in the middle, and start it at the end")
	flag.Parse()
	if err := run(*server, *file, *clients, *stop); err != nil {
		fmt.Fprintln(os.Stderr, "wordcount:", err)
		os.Exit(1)
	}
}

func run(server, file string, clients int, stop bool) error {
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text = string(data)
	}
	if clients < 1 {
		return fmt.Errorf("-clients is %d; want at least 1", clients)
	}
	report, err := Count(server, text, clients, stop)
	if err != nil {
		return err
	}
	fmt.Print(report)
	return nil
}
