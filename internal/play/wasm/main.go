//go:build wasip1

// Command wasm is the playground's engine for a page. The module is a WASI reactor: the
// host calls _initialize once. For each request the host writes JSON at buffer(size), calls
// handle(size), and reads as many bytes of JSON as the result says at buffer(0).
package main

import (
	"fmt"
	"unsafe"

	"raftlab/internal/play"
)

var (
	session = play.NewSession()
	data    = make([]byte, 1<<16)
)

// buffer returns the place of size bytes for a request.
//
//go:wasmexport buffer
func buffer(size int32) unsafe.Pointer {
	if int(size) > len(data) {
		data = make([]byte, size)
	}
	return unsafe.Pointer(unsafe.SliceData(data))
}

// handle answers the request of size bytes and returns the size of the response.
//
//go:wasmexport handle
func handle(size int32) int32 {
	response := session.Handle(data[:size])
	if len(response) > len(data) {
		data = make([]byte, len(response))
	}
	copy(data, response)
	return int32(len(response))
}

// plant gives all cores a bug. Package site adds a file that sets plant, in a build of the
// core with its bugs.
var plant = func(bug string) error {
	if bug != "" {
		return fmt.Errorf("%q: this engine was built without bugs", bug)
	}
	return nil
}

func init() { session.Plant = func(bug string) error { return plant(bug) } }

func main() {}
