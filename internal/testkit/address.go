package testkit

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// addresses are the addresses that FreeAddress has returned.
var addresses sync.Map

// FreeAddress returns an address on loopback where nothing listens, for a server that stops and
// starts again. Systems give ports from 32768 or 49152 on to outgoing connections and to
// listeners without a port of their own. The address has a lower port, so the port is still
// free when the server starts again.
func FreeAddress(t testing.TB) string {
	t.Helper()
	const first, ports = 10_000, 10_000
	for range ports {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(ports)))
		if _, taken := addresses.LoadOrStore(address, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatalf("no port from %d to %d is free", first, first+ports-1)
	return ""
}
