//go:build !wasip1

// Command wordcount counts the words of a text with a running raftlab serve. 16
// clients add to one counter for each word, over HTTP and with net/http alone. In the
// middle the program stops the leading replica. At the end the program compares the
// counts with those of one loop over the text.
//
//	go run ./cmd/raftlab serve &
//	go run ./examples/wordcount            # the text of the example
//	go run ./examples/wordcount -file book.txt
//
// A client reads a counter and writes the counter back, one higher, on the condition
// that no other client wrote in between. The condition is If-Match with the ETag of
// the value, or If-None-Match: * for a new word. A client that comes too late gets
// 412 and tries again. With an Idempotency-Key a request that must be repeated,
// because its answer was lost, counts once.
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
	file := flag.String("file", "", "the text (default: the text of the example)")
	clients := flag.Int("clients", 16, "how many clients count at the same time")
	stop := flag.Bool("stop", true, "stop the leading replica in the middle, and start the replica at the end")
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
