//go:build linux

package histories

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// network is a network namespace for each member, on one bridge, which the test's own
// process reaches, too.
type network struct {
	t    *testing.T
	name string // begins the names of the namespaces
	own  string // the interface of the test's process
	pid  int
	n    int
}

// newNetwork makes the namespaces of members 1 to n, or skips the test.
func newNetwork(t *testing.T, n int) *network {
	pid := os.Getpid()
	w := &network{t: t, name: fmt.Sprintf("rh%d-n", pid), own: fmt.Sprintf("rh%d", pid), pid: pid, n: n}
	t.Cleanup(w.close)
	hub := w.of("hub")
	w.must("netns add " + hub)
	w.must("-n " + hub + " link add hub type bridge")
	w.must("-n " + hub + " link set hub up")
	w.must(fmt.Sprintf("link add %s type veth peer name own netns %s", w.own, hub))
	w.must(fmt.Sprintf("-n %s link set own master hub up", hub))
	w.must(fmt.Sprintf("addr add %s/24 dev %s", w.address(254), w.own))
	w.must("link set " + w.own + " up")
	for i := 1; i <= n; i++ {
		own, port := w.of(fmt.Sprint("n", i)), fmt.Sprint("port", i)
		w.must("netns add " + own)
		w.must(fmt.Sprintf("-n %s link add eth0 type veth peer name %s netns %s", own, port, hub))
		w.must(fmt.Sprintf("-n %s link set %s master hub up", hub, port))
		w.must(fmt.Sprintf("-n %s addr add %s/24 dev eth0", own, w.address(i)))
		w.must(fmt.Sprintf("-n %s link set eth0 up", own))
		w.must(fmt.Sprintf("-n %s link set lo up", own))
	}
	return w
}

func (w *network) of(member string) string { return w.name + member }

// address returns the address of member i.
func (w *network) address(i int) string {
	return fmt.Sprintf("10.%d.%d.%d", 128+w.pid/250%100, w.pid%250, i)
}

func (w *network) must(args string) {
	w.t.Helper()
	if out, err := w.ip(args); err != nil {
		w.t.Skipf("network namespaces are not permitted here: ip %s: %v %s", args, err, out)
	}
}

func (w *network) ip(args string) ([]byte, error) {
	return exec.Command("ip", strings.Fields(args)...).CombinedOutput()
}

// cut loses all packets from one member to another. Neither end is told.
func (w *network) cut(from, to int) {
	_, _ = w.ip(fmt.Sprintf("-n %s neigh replace %s lladdr 02:00:00:00:00:99 dev eth0 nud permanent", w.of(fmt.Sprint("n", from)), w.address(to)))
}

// heal ends a cut.
func (w *network) heal(from, to int) {
	_, _ = w.ip(fmt.Sprintf("-n %s neigh del %s dev eth0", w.of(fmt.Sprint("n", from)), w.address(to)))
}

// healAll ends all cuts.
func (w *network) healAll() {
	for from := 1; from <= w.n; from++ {
		for to := 1; to <= w.n; to++ {
			if from != to {
				w.heal(from, to)
			}
		}
		w.unplug(from, false)
	}
}

// unplug takes a member off the network, also for clients, or brings it back.
func (w *network) unplug(i int, off bool) {
	state := "up"
	if off {
		state = "down"
	}
	_, _ = w.ip(fmt.Sprintf("-n %s link set port%d %s", w.of("hub"), i, state))
}

func (w *network) close() {
	_, _ = w.ip("link del " + w.own)
	for i := 1; i <= w.n; i++ {
		_, _ = w.ip("netns del " + w.of(fmt.Sprint("n", i)))
	}
	_, _ = w.ip("netns del " + w.of("hub"))
}
