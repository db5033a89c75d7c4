//go:build linux

package node_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"raftlab/raft/core"
)

// namespaces are three network namespaces with a host each, on one bridge in a fourth
// namespace.
type namespaces struct {
	t    testing.TB
	name string
}

// newNamespaces makes the namespaces, or skips the test where that is not permitted.
func newNamespaces(t testing.TB) *namespaces {
	n := &namespaces{t, fmt.Sprint("raftlab", os.Getpid(), "-")}
	t.Cleanup(func() {
		for i := range 4 {
			_ = exec.Command("ip", "netns", "del", fmt.Sprint(n.name, i)).Run()
		}
	})
	n.must("netns add " + n.name + "0")
	n.must("-n " + n.name + "0 link add hub type bridge")
	n.must("-n " + n.name + "0 link set hub up")
	for id := core.NodeID(1); id <= 3; id++ {
		own, port := n.of(id), fmt.Sprint("port", id)
		n.must("netns add " + own)
		n.must(fmt.Sprintf("-n %s link add eth0 type veth peer name %s netns %s0", own, port, n.name))
		n.must(fmt.Sprintf("-n %s0 link set %s master hub up", n.name, port))
		n.must(fmt.Sprintf("-n %s addr add %s/24 dev eth0", own, ip(id)))
		n.must(fmt.Sprintf("-n %s link set eth0 up", own))
		n.must(fmt.Sprintf("-n %s link set lo up", own))
	}
	return n
}

func (n *namespaces) of(id core.NodeID) string { return fmt.Sprint(n.name, id) }

func ip(id core.NodeID) string { return fmt.Sprint("10.77.0.", id) }

// must runs the ip command. Where the command fails, the machine permits no namespaces.
func (n *namespaces) must(args string) {
	n.t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		n.t.Skipf("network namespaces are not permitted here: ip %s: %v %s", args, err, out)
	}
}

// command returns the command of a host's process in the host's namespace.
func (n *namespaces) command(id core.NodeID, args []string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", n.of(id), os.Args[0]}, args...)...)
}

// cut loses all packets from one host to another. Neither end is told.
func (n *namespaces) cut(from, to core.NodeID) {
	n.must(fmt.Sprintf("-n %s neigh replace %s lladdr 02:00:00:00:00:99 dev eth0 nud permanent", n.of(from), ip(to)))
}

// heal ends a cut.
func (n *namespaces) heal(from, to core.NodeID) {
	n.must(fmt.Sprintf("-n %s neigh del %s dev eth0", n.of(from), ip(to)))
}

// TestProcessesOnCutLinks also cuts links between the processes, in one or in both
// directions, and cuts a process off altogether.
func TestProcessesOnCutLinks(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes, in real time")
	}
	n := newNamespaces(t)
	var addresses []string
	for id := core.NodeID(1); id <= 3; id++ {
		addresses = append(addresses, ip(id)+":7000")
	}
	testProcesses(t, 3, addresses, n.command, func(r *processTest) {
		from := core.NodeID(1 + r.rng.IntN(3))
		var links [][2]core.NodeID
		for to := core.NodeID(1); to <= 3; to++ {
			switch kind := r.rng.IntN(3); {
			case to == from:
			case kind > 0:
				links = append(links, [2]core.NodeID{from, to})
				if kind > 1 {
					links = append(links, [2]core.NodeID{to, from})
				}
			}
		}
		for _, l := range links {
			n.cut(l[0], l[1])
		}
		r.mayFail()
		time.Sleep(time.Duration(r.rng.IntN(1500)) * time.Millisecond)
		for _, l := range links {
			n.heal(l[0], l[1])
		}
	})
}
