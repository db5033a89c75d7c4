package compare

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"raftlab/internal/member"
)

// side is one of the two servers, with a single member.
type side struct {
	name    string
	address string // of the client port
	conn    *grpc.ClientConn
	stop    func()

	base     int64             // the revision at the begin of the sequence
	granted  []int64           // the leases whose id the server chose, in order
	tokens   map[string]string // by user
	streams  map[string]*watchStream
	member   uint64
	peerURLs []string
}

// pair has both servers. The servers serve one sequence after the other.
type pair struct {
	t          *testing.T
	etcd, ours *side
	sequences  int
	requests   int
}

// etcdBinary is etcd's own program, which the go command builds and caches. The program
// runs in a process of its own, because both servers register the messages of Lock and
// Election.
var etcdBinary = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "tool", "-n", "go.etcd.io/etcd/server/v3").Output()
	if err != nil {
		return "", fmt.Errorf("building etcd: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

func newPair(t *testing.T) *pair {
	p := &pair{t: t}
	p.start()
	t.Cleanup(p.close)
	return p
}

func (p *pair) start() {
	p.etcd, p.ours = startEtcd(p.t), startOurs(p.t)
	for _, s := range []*side{p.etcd, p.ours} {
		s.connect(p.t)
	}
}

func (p *pair) close() {
	for _, s := range []*side{p.etcd, p.ours} {
		s.conn.Close()
		s.stop()
	}
}

// restart replaces both servers by new ones.
func (p *pair) restart() {
	p.close()
	p.start()
}

// directory returns a new directory, in memory if the machine has such a file system.
func directory(t *testing.T) string {
	if dir, err := os.MkdirTemp("/dev/shm", "raftlab-compare"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// freeAddress returns a loopback address that nobody uses at the time.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func startEtcd(t *testing.T) *side {
	binary, err := etcdBinary()
	require.NoError(t, err)
	client, peer := freeAddress(t), freeAddress(t)
	var log bytes.Buffer
	cmd := exec.Command(binary, "--name=default", "--data-dir="+filepath.Join(directory(t), "data"), "--unsafe-no-fsync",
		"--listen-client-urls=http://"+client, "--advertise-client-urls=http://"+client,
		"--listen-peer-urls=http://"+peer, "--initial-advertise-peer-urls=http://"+peer, "--initial-cluster=default=http://"+peer,
		"--heartbeat-interval=100", "--election-timeout=1000", "--bcrypt-cost=4", "--log-level=panic")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	return &side{name: "etcd", address: client, stop: func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() && log.Len() > 0 {
			t.Logf("etcd's log:\n%s", log.String())
		}
	}}
}

func startOurs(t *testing.T) *side {
	client, peer := freeAddress(t), freeAddress(t)
	m, err := member.Start(member.Options{
		Name: "default", Data: filepath.Join(directory(t), "data"), Listen: client, ListenPeer: peer,
		Cluster: map[string]string{"default": peer}, BcryptCost: 4,
		HeartbeatInterval: 100 * time.Millisecond, ElectionTimeout: time.Second,
	})
	require.NoError(t, err)
	return &side{name: "raftlab", address: client, stop: func() { _ = m.Close() }}
}

// connect waits until the server serves and its first member is alone healthy.
func (s *side) connect(t *testing.T) {
	var err error
	s.conn, err = grpc.NewClient("passthrough:///"+s.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		var list *pb.MemberListResponse
		list, err = pb.NewClusterClient(s.conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: true}, grpc.WaitForReady(true))
		if err == nil && len(list.Members) == 1 && list.Members[0].Name != "" {
			s.member, s.peerURLs = list.Members[0].ID, list.Members[0].PeerURLs
			return
		}
		require.NoError(t, ctx.Err(), "%s does not serve: %v", s.name, err)
		time.Sleep(10 * time.Millisecond)
	}
}
