//go:build linux

package histories

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"raftlab/internal/testkit"
)

// binary is the program under test.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("RAFTLAB_BINARY"); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "raftlab-histories")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "raftlab")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/raftlab")
	cmd.Dir = filepath.Join("..", "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building raftlab: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv("RAFTLAB_BINARY") == "" {
		if path, err := binary(); err == nil {
			os.RemoveAll(filepath.Dir(path))
		}
	}
	os.Exit(code)
}

// process is one member, which runs or does not.
type process struct {
	name, peer, client string
	dir                string // of the data directory, a file system of its own if permitted
	binary             string
	args               []string

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
	// wanted says that the process should run.
	wanted bool
	guest  bool // the process may end by itself, because the cluster may refuse it
	full   bool // the disk was full in the time of the process
	shift  int  // seconds by which the clock is ahead, in a time namespace
}

// exit is the end of a process that should run.
type exit struct {
	name, log string
	err       error
	full      bool // the disk was full
}

// String returns the exit with the last line of the log.
func (e exit) String() string {
	return fmt.Sprintf("%s: %v: %s", e.name, e.err, e.lastLine())
}

func (e exit) lastLine() string {
	data, err := os.ReadFile(e.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}

// explained reports whether the process ended because its disk was full.
func (e exit) explained() bool {
	return e.full && strings.Contains(e.lastLine(), syscall.ENOSPC.Error())
}

// cluster is the processes, with what the machine permits.
type cluster struct {
	*testing.T
	dir     string
	net     *network // nil without namespaces
	disks   bool     // each member has a file system of its own
	members []*process

	mu     sync.Mutex
	starts int    // of processes
	exits  []exit // processes that ended by themselves
}

// newCluster starts n processes.
func newCluster(t *testing.T, n int, isolated bool) *cluster {
	path, err := binary()
	require.NoError(t, err)
	return newClusterOf(t, n, isolated, path)
}

// newClusterOf starts n processes of a program.
func newClusterOf(t *testing.T, n int, isolated bool, path string) *cluster {
	c := &cluster{T: t, dir: t.TempDir()}
	if isolated {
		c.net = newNetwork(t, n+1)
		c.disks = true
	}
	var first []string
	for i := 1; i <= n; i++ {
		p := c.newProcess(i, path)
		first = append(first, p.name+"="+p.peer)
		c.members = append(c.members, p)
	}
	for _, p := range c.members {
		p.args = append(p.args, "--cluster", strings.Join(first, ","))
		require.NoError(t, c.start(p))
	}
	t.Cleanup(c.close)
	return c
}

// newProcess returns member number i.
func (c *cluster) newProcess(i int, path string) *process {
	p := &process{name: fmt.Sprint("n", i), binary: path, dir: filepath.Join(c.dir, fmt.Sprint("n", i))}
	if c.net != nil {
		p.peer, p.client = c.net.address(i)+":2380", c.net.address(i)+":2379"
	} else {
		p.peer, p.client = testkit.FreeAddress(c), testkit.FreeAddress(c)
	}
	require.NoError(c, os.MkdirAll(p.dir, 0o755))
	if c.disks {
		c.disks = c.mount(p)
	}
	p.args = []string{
		"serve", "--strict-reconfig-check=false", "--name", p.name, "--data", filepath.Join(p.dir, "data"), "--listen-peer", p.peer, "--listen", p.client,
		"--heartbeat", "50ms", "--election-timeout", "500ms", "--snapshot-entries", "2000", "--insecure",
	}
	return p
}

// mount gives a member a file system in a file, which can be filled and frozen.
func (c *cluster) mount(p *process) bool {
	image := p.dir + ".img"
	for _, command := range [][]string{
		{"truncate", "-s", "160M", image}, {"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, p.dir},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			c.Logf("disks are not broken here: %v: %v %s", command, err, out)
			return false
		}
	}
	return true
}

// start starts a process, and watches for its end.
func (c *cluster) start(p *process) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	command := append([]string{p.binary}, p.args...)
	if p.shift != 0 {
		s := fmt.Sprint(p.shift)
		command = append([]string{"unshare", "--time", "--monotonic", s, "--boottime", s, "--fork", "--kill-child"}, command...)
	}
	if c.net != nil {
		command = append([]string{"ip", "netns", "exec", c.net.of(p.name)}, command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	log, err := c.newLog(p)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	p.cmd, p.ended, p.wanted, p.full = cmd, make(chan struct{}), !p.guest, false
	go func(ended chan struct{}) {
		err := cmd.Wait()
		log.Close()
		p.mu.Lock()
		if p.wanted && p.cmd == cmd {
			c.mu.Lock()
			c.exits = append(c.exits, exit{p.name, log.Name(), err, p.full})
			c.mu.Unlock()
		}
		p.mu.Unlock()
		close(ended)
	}(p.ended)
	return nil
}

// logs is the directory of the processes' logs.
func (c *cluster) logs() string { return filepath.Join(c.dir, "logs") }

// newLog makes the log of the next run of a process.
func (c *cluster) newLog(p *process) (*os.File, error) {
	if err := os.MkdirAll(c.logs(), 0o755); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starts++
	return os.Create(filepath.Join(c.logs(), fmt.Sprintf("%03d-%s", c.starts, p.name)))
}

// signal sends a signal to a process and its children.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = syscall.Kill(-p.cmd.Process.Pid, s) // it may have ended
	}
}

// end ends a process by a signal, and waits for the end.
func (p *process) end(s syscall.Signal) {
	p.mu.Lock()
	p.wanted = false
	ended := p.ended
	p.mu.Unlock()
	p.signal(s)
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		p.signal(syscall.SIGKILL)
		<-ended
	}
}

// running reports whether the process runs.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// restart starts a process that does not run.
func (c *cluster) restart(p *process) {
	if !p.running() {
		if err := c.start(p); err != nil {
			c.Errorf("starting %s: %v", p.name, err)
		}
	}
}

// ready reports whether a member serves linearizable reads.
func (p *process) ready() bool {
	client := http.Client{Timeout: time.Second}
	r, err := client.Get("http://" + p.client + "/readyz")
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// settle ends all faults, and waits until all members are ready.
func (c *cluster) settle() {
	c.Helper()
	if c.net != nil {
		c.net.healAll()
	}
	deadline := time.Now().Add(60 * time.Second)
	for _, p := range c.members {
		p.signal(syscall.SIGCONT)
		c.restart(p)
		for !p.ready() {
			c.restart(p) // the process may end by itself once more
			if time.Now().After(deadline) {
				require.Fail(c, "a member is not ready", p.name)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// keepLogs copies the logs of a failed test to a directory that stays.
func (c *cluster) keepLogs() {
	dir, err := os.MkdirTemp("", "raftlab-histories-logs")
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(c.logs()))
	}
	c.Logf("the logs of the processes are in %s (%v)", dir, err)
}

// close ends all processes. A process that has ended by itself fails the test, unless
// its disk was full.
func (c *cluster) close() {
	for _, p := range c.members {
		p.signal(syscall.SIGCONT)
		p.end(syscall.SIGKILL)
		if c.disks {
			_ = exec.Command("fsfreeze", "-u", p.dir).Run() // if it is frozen
			_ = exec.Command("umount", p.dir).Run()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.exits {
		if e.explained() {
			c.Logf("a process ended by itself: %v", e)
		} else {
			c.Errorf("a process ended by itself: %v", e)
		}
	}
	if c.Failed() {
		c.keepLogs()
	}
}

// client returns a client of some members.
func (c *cluster) client(members ...*process) *clientv3.Client {
	var urls []string
	for _, p := range members {
		urls = append(urls, "http://"+p.client)
	}
	cli, err := clientv3.New(clientv3.Config{
		Endpoints: urls, DialTimeout: 2 * time.Second, DialKeepAliveTime: time.Second, DialKeepAliveTimeout: time.Second,
		Logger: quiet,
	})
	if err != nil {
		c.Errorf("making a client: %v", err)
	}
	return cli
}

// panics returns the panics in the log of the processes.
func (c *cluster) panics() error {
	files, err := os.ReadDir(c.logs())
	if err != nil {
		return err
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(c.logs(), f.Name()))
		if err != nil {
			return err
		}
		for _, mark := range []string{"panic:", "fatal error:", "DATA RACE"} {
			if i := strings.Index(string(data), mark); i >= 0 {
				return fmt.Errorf("%s: %s", f.Name(), data[max(0, i-500):min(len(data), i+3000)])
			}
		}
	}
	return nil
}

// hashes compares the stores of all members at one revision.
func (c *cluster) hashes(revision int64) {
	c.Helper()
	sums := make(map[string]bool)
	var text []string
	for _, p := range c.members {
		cli := c.client(p)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		// HashKV reads what the member has applied. A linearizable read first waits until
		// that is all.
		_, err := cli.Get(ctx, prefix)
		require.NoError(c, err, p.name)
		h, err := cli.HashKV(ctx, "http://"+p.client, revision)
		cancel()
		require.NoError(c, err, p.name)
		require.NoError(c, cli.Close())
		s := fmt.Sprintf("%08x of %d after %d", h.Hash, h.HashRevision, h.CompactRevision)
		sums[s] = true
		text = append(text, p.name+": "+s)
	}
	require.Len(c, sums, 1, "%v", text)
}
