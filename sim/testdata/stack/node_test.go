package stack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/pki"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
	"raftlab/raft/wal"
	"raftlab/sim/world"
)

// sum is a replicated sum, which processes keep in their own memory.
type sum struct{ n atomic.Int64 }

func (s *sum) Apply(commands []node.Command) {
	for i := range commands {
		d, _ := strconv.ParseInt(string(commands[i].Data), 10, 64)
		commands[i].Result = strconv.AppendInt(nil, s.n.Add(d), 10)
	}
}

type view int64

func (v view) WriteTo(w io.Writer) (int64, error) { return 8, binary.Write(w, binary.BigEndian, v) }

func (s *sum) Snapshot() (io.WriterTo, error) { return view(s.n.Load()), nil }

func (s *sum) Restore(body io.Reader) error {
	var n int64
	err := binary.Read(body, binary.BigEndian, &n)
	s.n.Store(n)
	return err
}

const cluster = "stack"

// server is a host of the cluster: a process, its machine and its disk.
type server struct {
	id      core.NodeID
	process *world.Process
	dir     string
	members []node.Member
	join    bool
	errs    chan error
}

func address(id core.NodeID) string { return fmt.Sprintf("10.0.8.%d:7000", id) }

func newServer(t *testing.T, ca *pki.Authority, id core.NodeID, members []node.Member, join bool, errs chan error) *server {
	dir := t.TempDir()
	s := &server{id: id, dir: dir, members: members, join: join, errs: errs}
	identity := node.Identity{Cluster: cluster, Host: id}
	pair, err := ca.Issue(pki.Request{Name: fmt.Sprint("host ", id), URI: tcp.HostURI(identity), Lifetime: 24 * time.Hour})
	require.NoError(t, err)
	require.NoError(t, pair.Write(filepath.Join(dir, "cert"), filepath.Join(dir, "key")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca"), ca.Cert, 0o600))
	require.NoError(t, wal.Create(filepath.Join(dir, "log"), wal.Options{Identity: identity, SegmentBytes: 64 << 10}))
	disk, err := world.NewDisk(dir)
	require.NoError(t, err)
	require.NoError(t, disk.SetFaults(world.DiskFaults{SyncTime: time.Millisecond, SyncJitter: 4 * time.Millisecond}))
	s.process, err = world.NewProcess(fmt.Sprint("host", id), fmt.Sprintf("10.0.8.%d", id))
	require.NoError(t, err)
	s.process.Attach(disk)
	require.NoError(t, s.process.Start(s.main))
	return s
}

// main is the program of a host.
func (s *server) main() {
	fail := func(err error) {
		select {
		case s.errs <- fmt.Errorf("host %d: %w", s.id, err):
		default:
		}
	}
	file := func(name string) string { return filepath.Join(s.dir, name) }
	storage, err := wal.Open(file("log"), wal.Options{Identity: node.Identity{Cluster: cluster, Host: s.id}, SegmentBytes: 64 << 10})
	if err != nil {
		fail(err)
		return
	}
	transport, err := tcp.Listen(tcp.Options{Listen: address(s.id), TLS: &tcp.TLS{CertFile: file("cert"), KeyFile: file("key"), CAFile: file("ca")}})
	if err != nil {
		fail(err)
		return
	}
	machine := &sum{}
	n, err := node.Start(node.HostConfig{Storage: storage, Transport: transport},
		node.Config{Members: s.members, Join: s.join, StateMachine: machine})
	if err != nil {
		fail(err)
		return
	}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, text string, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, text)
	}
	mux.HandleFunc("/add", func(w http.ResponseWriter, r *http.Request) {
		result, err := n.Propose(r.Context(), []byte("1"))
		answer(w, string(result.Data), err)
	})
	mux.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		_, err := n.ReadIndex(r.Context())
		answer(w, fmt.Sprint(machine.n.Load()), err)
	})
	mux.HandleFunc("/replace", func(w http.ResponseWriter, r *http.Request) {
		err := n.ChangeMembers(r.Context(), node.AddVoter(4, address(4)), node.Remove(1))
		if errors.Is(err, node.ErrNoMember) {
			err = nil // the answer to an earlier request was lost
		}
		answer(w, "", err)
	})
	if err := http.ListenAndServe(":80", mux); err != nil {
		fail(err)
	}
}

// ask asks a host, for a second at most.
func ask(id core.NodeID, path string) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://host%d%s", id, path), nil)
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}}
	r, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s %s %w", r.Status, b, err)
	}
	if len(b) == 0 {
		return 0, nil
	}
	return strconv.ParseInt(string(b), 10, 64)
}

// TestCluster runs a cluster of processes with TLS and logs on disks, whose
// network is cut, whose processes are killed and whose machines lose power. Each
// acknowledged addition must count, once. In the end a host is replaced.
func TestCluster(t *testing.T) {
	if !world.Active() {
		t.Skip("runs in a simulated world: raftlab sim ./sim/testdata/stack")
	}
	ca, err := pki.NewAuthority(cluster, 48*time.Hour)
	require.NoError(t, err)
	errs := make(chan error, 10)
	var members []node.Member
	for id := core.NodeID(1); id <= 3; id++ {
		members = append(members, node.Member{ID: id, Address: address(id)})
	}
	servers := map[core.NodeID]*server{}
	for _, m := range members {
		servers[m.ID] = newServer(t, ca, m.ID, members, false, errs)
	}
	acked, unknown := int64(0), int64(0)
	add := func() {
		if _, err := ask(core.NodeID(1+rand.IntN(3)), "/add"); err == nil {
			acked++
		} else {
			unknown++
		}
	}
	check := func(ids ...core.NodeID) {
		t.Helper()
		for _, id := range ids {
			for tries := 0; ; tries++ {
				got, err := ask(id, "/sum")
				if err == nil {
					require.GreaterOrEqual(t, got, acked)
					require.LessOrEqual(t, got, acked+unknown)
					break
				}
				require.Less(t, tries, 60, "host %d does not answer: %v", id, err)
				time.Sleep(time.Second)
			}
		}
	}
	check(1, 2, 3)
	for range 12 {
		victim := servers[core.NodeID(1+rand.IntN(3))]
		for range rand.IntN(8) {
			add()
		}
		switch rand.IntN(3) {
		case 0:
			victim.process.Kill()
		case 1:
			require.NoError(t, victim.process.PowerOff())
		case 2:
			require.NoError(t, world.Partition(victim.process.IP(), "10.0.8.0/24"))
		}
		for range rand.IntN(8) {
			add()
		}
		require.NoError(t, world.HealAll())
		victim.process.Kill()
		require.NoError(t, victim.process.Start(victim.main))
		check(1, 2, 3)
	}
	require.Greater(t, acked, int64(5))
	servers[4] = newServer(t, ca, 4, nil, true, errs)
	for done, tries := false, 0; !done; tries++ {
		for id := core.NodeID(2); id <= 3; id++ {
			if _, err := ask(id, "/replace"); err == nil {
				done = true
			}
		}
		if !done {
			require.Less(t, tries, 60, "the members do not change")
			time.Sleep(time.Second)
			if tries%5 == 4 { // host 1 may lead
				servers[1].process.Kill()
				require.NoError(t, servers[1].process.Start(servers[1].main))
			}
		}
	}
	check(2, 3, 4)
	fmt.Println(acked, "acknowledged,", unknown, "unknown")
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
}
