//go:build !wasip1

package main

import "log"

func main() {
	log.Fatal("the engine is for pages: build it with GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared")
}
