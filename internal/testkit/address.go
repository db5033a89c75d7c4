package testkit

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

const (
	firstPort = 10_000
	blocks    = 100
	blockSize = 100
)

// ports are the ports that FreeAddress may return. Processes of several packages run at once,
// so each process takes blocks of ports for its life, and locks a block by a listener on the
// first port.
var ports struct {
	mu        sync.Mutex
	locks     []net.Listener
	next, end int
}

// FreeAddress returns an address on loopback where nothing listens, for a server that stops and
// starts again. Systems give ports from 32768 or 49152 on to outgoing connections and to
// listeners without a port of their own. The address has a lower port, and no other process
// of tests gets that port, so the port is still free when the server starts again.
func FreeAddress(t testing.TB) string {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for {
		if ports.next == ports.end && !lockPorts() {
			t.Fatalf("no port from %d to %d is free", firstPort, firstPort+blocks*blockSize-1)
		}
		address := loopback(ports.next)
		ports.next++
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
}

// lockPorts takes one more block of ports. The caller holds ports.mu.
func lockPorts() bool {
	for _, i := range rand.Perm(blocks) {
		first := firstPort + i*blockSize
		if l, err := net.Listen("tcp", loopback(first)); err == nil {
			ports.locks = append(ports.locks, l)
			ports.next, ports.end = first+1, first+blockSize
			return true
		}
	}
	return false
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
