package tcp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// recorder is a Receiver that keeps what it receives.
type recorder struct {
	mu       sync.Mutex
	received map[core.NodeID][]node.Message
	up       map[core.NodeID]int
	down     map[core.NodeID]error
}

func newRecorder() *recorder {
	return &recorder{
		received: make(map[core.NodeID][]node.Message),
		up:       make(map[core.NodeID]int),
		down:     make(map[core.NodeID]error),
	}
}

func (r *recorder) Receive(from core.NodeID, messages []node.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received[from] = append(r.received[from], messages...)
}

func (r *recorder) PeerUp(id core.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up[id]++
}

func (r *recorder) PeerDown(id core.NodeID, reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down[id] = reason
}

func (r *recorder) from(id core.NodeID) []node.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]node.Message(nil), r.received[id]...)
}

func (r *recorder) ups(id core.NodeID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up[id]
}

func (r *recorder) reason(id core.NodeID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down[id]
}

func (r *recorder) forgetLoss(id core.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.down, id)
}

// host is a started transport.
type host struct {
	*tcp.Transport
	*recorder
	log *bytes.Buffer
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func identity(id core.NodeID) node.Identity { return node.Identity{Cluster: "test", Host: id} }

// listen starts a host's transport, with short timeouts.
func listen(t testing.TB, self node.Identity, opts tcp.Options) *host {
	t.Helper()
	if opts.Listen == "" {
		opts.Listen = "127.0.0.1:0"
	}
	if opts.TLS == nil {
		opts.Plaintext = true
	}
	opts.MinBackoff, opts.MaxBackoff = 5*time.Millisecond, 20*time.Millisecond
	h := &host{recorder: newRecorder(), log: &bytes.Buffer{}}
	opts.Logger = slog.New(slog.NewTextHandler(lockedWriter{&h.mu, h.log}, nil))
	var err error
	h.Transport, err = tcp.Listen(opts)
	require.NoError(t, err)
	require.NoError(t, h.Start(self, h.recorder))
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

func (h *host) logged(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(h.log.String(), text)
}

func vote(term uint64) node.Message {
	return node.Message{Group: 7, Body: &core.RequestVoteReply{Term: term, VoteGranted: true}}
}

func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	testkit.WaitFor(t, 10*time.Second, what, cond)
}

// connectedTo tells a of b and waits for the connection.
func connectedTo(t testing.TB, a *host, id core.NodeID, b *host) {
	t.Helper()
	a.SetPeer(id, b.Address())
	waitFor(t, "a connection", func() bool { return a.ups(id) > 0 })
}

func TestMessagesArriveInOrder(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%t", secure), func(t *testing.T) {
			var o1, o2 tcp.Options
			if secure {
				ca := newAuthority(t)
				o1.TLS, o2.TLS = ca.host("h1", identity(1)), ca.host("h2", identity(2))
			}
			a, b := listen(t, identity(1), o1), listen(t, identity(2), o2)
			connectedTo(t, a, 2, b)
			waitFor(t, "the way back, at the address that host 1 told", func() bool { return b.ups(1) > 0 })
			var want []node.Message
			for i := range 1000 {
				m := vote(uint64(i))
				want = append(want, m)
				a.Send(2, []node.Message{m})
			}
			large := node.Message{Group: 9, Body: &core.AppendEntries{Term: 3, LeaderID: 1, Entries: []core.Entry{{Index: 1, Term: 3, Data: bytes.Repeat([]byte("x"), 2<<20)}}}}
			want = append(want, large)
			a.Send(2, []node.Message{large})
			waitFor(t, "the messages", func() bool { return len(b.from(1)) == len(want) })
			require.Equal(t, want, b.from(1))
			b.Send(1, want[:1])
			waitFor(t, "an answer", func() bool { return len(a.from(2)) == 1 })
		})
	}
}

func TestPeerComesBackAtAnotherAddress(t *testing.T) {
	a, b := listen(t, identity(1), tcp.Options{}), listen(t, identity(2), tcp.Options{})
	connectedTo(t, a, 2, b)
	require.NoError(t, b.Close())
	waitFor(t, "the loss", func() bool { return a.reason(2) != nil })
	a.Send(2, []node.Message{vote(1)}) // dropped
	again := listen(t, identity(2), tcp.Options{})
	again.SetPeer(1, a.Address()) // and host 1 is told by the handshake
	waitFor(t, "the connection", func() bool { return a.ups(2) == 2 })
	a.Send(2, []node.Message{vote(2)})
	waitFor(t, "a message", func() bool { return len(again.from(1)) == 1 })
	require.Equal(t, vote(2), again.from(1)[0])
}

// The configuration still has the old address of a peer that has moved. It is set
// again with each change of the membership, and after each restart.
func TestConfiguredAddressDoesNotReplaceANewerOne(t *testing.T) {
	a, b := listen(t, identity(1), tcp.Options{}), listen(t, identity(2), tcp.Options{})
	old := b.Address()
	connectedTo(t, a, 2, b)
	require.NoError(t, b.Close())
	moved := listen(t, identity(2), tcp.Options{})
	moved.SetPeer(1, a.Address())
	waitFor(t, "the connection to the new address", func() bool { return a.ups(2) == 2 })
	a.forgetLoss(2)
	a.SetPeer(2, old)

	late := listen(t, identity(3), tcp.Options{}) // hears of the new address first
	moved.SetPeer(3, late.Address())
	waitFor(t, "the connection by the peer's own word", func() bool { return late.ups(2) == 1 })
	late.SetPeer(2, old)
	time.Sleep(100 * time.Millisecond) // a connection would end within the time
	require.NoError(t, a.reason(2))
	require.NoError(t, late.reason(2))
}

func TestPeerIsReachedAtEitherAddress(t *testing.T) {
	a, b := listen(t, identity(1), tcp.Options{}), listen(t, identity(2), tcp.Options{})
	unused := listen(t, identity(9), tcp.Options{})
	connectedTo(t, b, 1, a)
	waitFor(t, "the way back", func() bool { return a.ups(2) == 1 })
	a.SetPeer(2, unused.Address())
	a.SetPeer(2, "127.0.0.1:1") // wrong, and not the address that the peer has told
	waitFor(t, "the end of the connection", func() bool { return a.reason(2) != nil })
	require.EqualError(t, a.reason(2), "the peer has another address")
	waitFor(t, "the connection to the other address", func() bool { return a.ups(2) >= 2 })
	a.Send(2, []node.Message{vote(1)})
	waitFor(t, "a message", func() bool { return len(b.from(1)) == 1 })
}

// A host that listens on all addresses does not know its own. Its peers must not dial
// themselves.
func TestHostOnAllAddressesIsDialledWhereItComesFrom(t *testing.T) {
	for _, all := range []string{":0", "0.0.0.0:0"} {
		a, b := listen(t, identity(1), tcp.Options{Listen: all}), listen(t, identity(2), tcp.Options{})
		a.SetPeer(2, b.Address())
		waitFor(t, "the way back", func() bool { return b.ups(1) == 1 })
		_, port, err := net.SplitHostPort(a.Address())
		require.NoError(t, err)
		require.True(t, b.logged("msg=connected host=2 to=1 address=127.0.0.1:"+port), b.log)
	}
}

func TestFirstWordOfAPeerDoesNotEndAConnection(t *testing.T) {
	a, b := listen(t, identity(1), tcp.Options{}), listen(t, identity(2), tcp.Options{})
	_, port, err := net.SplitHostPort(b.Address())
	require.NoError(t, err)
	a.SetPeer(2, "localhost:"+port)
	waitFor(t, "the way back", func() bool { return b.ups(1) == 1 }) // and b has told its address
	b.Send(1, []node.Message{vote(1)})
	waitFor(t, "a message", func() bool { return len(a.from(2)) == 1 })
	require.NoError(t, a.reason(2))
	require.Equal(t, 1, a.ups(2))
}

func TestStrangersAreRefused(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.host("h2", identity(2))
	tests := []struct {
		name string
		self node.Identity
		opts tcp.Options
		want string // in the log of one of the two
	}{
		{"another cluster", node.Identity{Cluster: "other", Host: 1}, tcp.Options{TLS: ca.host("other", node.Identity{Cluster: "other", Host: 1})}, "host 2 of cluster"},
		{"another authority", identity(1), tcp.Options{TLS: other.host("h1", identity(1))}, "unknown authority"},
		{"no TLS", identity(1), tcp.Options{}, "tls: first record does not look like a TLS handshake"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := listen(t, identity(2), tcp.Options{TLS: good})
			a := listen(t, tt.self, tt.opts)
			a.SetPeer(2, b.Address())
			waitFor(t, "the refusal", func() bool { return a.logged(tt.want) || b.logged(tt.want) })
			require.Zero(t, a.ups(2))
			require.Empty(t, b.from(1))
		})
	}
}

// A host that is refused finds the reason in its own log, each time.
func TestRefusedHostLearnsTheReason(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	for _, tt := range []struct {
		name, want string
		a, b       tcp.Options
	}{
		{"another authority", "refuses the certificate: remote error: tls: ", tcp.Options{TLS: mixed(other.host("h1", identity(1)), ca)}, tcp.Options{TLS: ca.host("h2", identity(2))}},
		{"TLS on the other side alone", "ended the connection during the handshake", tcp.Options{}, tcp.Options{TLS: ca.files("h2")}},
		{"TLS on this side alone", "ended the connection during the handshake", tcp.Options{TLS: ca.host("h1", identity(1))}, tcp.Options{}},
		{"another cluster", "it is of cluster", tcp.Options{}, tcp.Options{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			self := identity(2)
			if tt.name == "another cluster" {
				self.Cluster = "other"
			}
			b := listen(t, self, tt.b)
			a := listen(t, identity(1), tt.a)
			a.SetPeer(2, b.Address())
			waitFor(t, "many attempts", func() bool { return b.Stats().Refused >= 30 })
			waitFor(t, "the reason", func() bool { return a.logged(tt.want) })
			a.mu.Lock()
			defer a.mu.Unlock()
			require.NotContains(t, a.log.String(), "broken pipe")
			require.NotContains(t, a.log.String(), "connection reset")
			require.Equal(t, 1, strings.Count(a.log.String(), "peer not reached"), a.log.String())
		})
	}
}

// mixed are a host's files with another authority for the peers.
func mixed(files *tcp.TLS, ca *authority) *tcp.TLS {
	return &tcp.TLS{CertFile: files.CertFile, KeyFile: files.KeyFile, CAFile: ca.files("h1").CAFile}
}

// A name of a cluster may have any characters that a certificate can carry.
func TestHostURIOfAnyCluster(t *testing.T) {
	ca := newAuthority(t)
	for i, cluster := range []string{"counter", "my cluster", "a/b:c@d?e#f%20+&=", "\u00fcber", "example.com", "a..b", ".", "UPPER_lower-1~"} {
		self, peer := node.Identity{Cluster: cluster, Host: 1}, node.Identity{Cluster: cluster, Host: 2}
		t.Run(cluster, func(t *testing.T) {
			a := listen(t, self, tcp.Options{TLS: ca.host(fmt.Sprint("a", i), self)})
			b := listen(t, peer, tcp.Options{TLS: ca.host(fmt.Sprint("b", i), peer)})
			connectedTo(t, a, 2, b)
		})
	}
	require.Equal(t, "raftlab://counter/1", tcp.HostURI(node.Identity{Cluster: "counter", Host: 1}).String())
	require.Equal(t, "raftlab://example.com/1", tcp.HostURI(node.Identity{Cluster: "example.com", Host: 1}).String())
	require.Equal(t, "raftlab://my+cluster/1", tcp.HostURI(node.Identity{Cluster: "my cluster", Host: 1}).String())
	require.Equal(t, "raftlab://a%252Fb/1", tcp.HostURI(node.Identity{Cluster: "a/b", Host: 1}).String())
}

// A certificate of the cluster is good for every host of this cluster, and for no
// other.
func TestCertificateOfTheCluster(t *testing.T) {
	ca := newAuthority(t)
	every := ca.anyHost("every", "test")
	a, b := listen(t, identity(1), tcp.Options{TLS: every}), listen(t, identity(2), tcp.Options{TLS: every})
	connectedTo(t, a, 2, b)
	c := listen(t, identity(3), tcp.Options{TLS: ca.host("h3", identity(3))})
	connectedTo(t, a, 3, c)
	connectedTo(t, c, 1, a)
	echo(t, a)
	ctx := within(t, 10*time.Second)
	s, err := c.DialStreamAddress(ctx, a.Address())
	require.NoError(t, err)
	checkEcho(t, s, 3)
	s, err = b.DialStreamAddress(ctx, a.Address())
	require.NoError(t, err)
	checkEcho(t, s, 2)

	transport, err := tcp.Listen(tcp.Options{Listen: "127.0.0.1:0", TLS: ca.anyHost("other", "other")})
	require.NoError(t, err)
	require.ErrorIs(t, transport.Start(identity(4), newRecorder()), tcp.ErrPeer)
	require.NoError(t, transport.Close())
	stranger := listen(t, node.Identity{Cluster: "other", Host: 4}, tcp.Options{TLS: ca.files("other")})
	_, err = stranger.DialStreamAddress(ctx, a.Address())
	require.ErrorIs(t, err, tcp.ErrPeer)
}

// Without TLS anybody can claim any id. A claim costs the host as much as the
// connection, and no more when the connection has ended.
func TestClaimedIdsAreBounded(t *testing.T) {
	b := listen(t, identity(2), tcp.Options{MaxConnections: 4})
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer trap.Close()
	b.SetPeer(9, trap.Addr().String())
	members := 1
	for id := core.NodeID(10); id < 14; id++ {
		a := listen(t, identity(id), tcp.Options{Advertise: trap.Addr().String()})
		connectedTo(t, a, 2, b)
		waitFor(t, "the peer", func() bool { return b.Stats().Peers == members+1 })
		if id%2 == 0 {
			b.SetPeer(id, trap.Addr().String())
			members++
		}
		require.NoError(t, a.Close())
		waitFor(t, "the members alone", func() bool { return b.Stats().Peers == members && b.Stats().Connections == 0 })
	}
	b.RemovePeer(10)
	waitFor(t, "the members that are left", func() bool { return b.Stats().Peers == 2 })
}

func TestCertificateOfAnotherHostIsRefused(t *testing.T) {
	ca := newAuthority(t)
	tr, err := tcp.Listen(tcp.Options{Listen: "127.0.0.1:0", TLS: ca.host("h3", identity(3))})
	require.NoError(t, err)
	defer tr.Close()
	require.ErrorContains(t, tr.Start(identity(1), newRecorder()), "certificate of host 3")

	// Host 3, at the address that host 1 believes to be host 2's.
	c := listen(t, identity(3), tcp.Options{TLS: ca.files("h3")})
	a := listen(t, identity(1), tcp.Options{TLS: ca.host("h1", identity(1))})
	a.SetPeer(2, c.Address())
	waitFor(t, "several attempts", func() bool { return c.Stats().Refused > 3 })
	require.Zero(t, a.ups(2))
}

func TestCertificatesAreReplacedWithoutARestart(t *testing.T) {
	ca := newAuthority(t)
	a := listen(t, identity(1), tcp.Options{TLS: ca.host("h1", identity(1))})
	b := listen(t, identity(2), tcp.Options{TLS: ca.host("h2", identity(2))})
	connectedTo(t, a, 2, b)
	// Another authority takes over. Its certificates stand in the same files.
	next := newAuthority(t)
	for i, name := range []string{"h1", "h2"} {
		next.host(name, identity(core.NodeID(i+1)))
	}
	later := time.Now().Add(time.Minute)
	for _, file := range []string{"ca.pem", "h1.pem", "h1.key", "h2.pem", "h2.key"} {
		data, err := os.ReadFile(next.dir + "/" + file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(ca.dir+"/"+file, data, 0o600))
		require.NoError(t, os.Chtimes(ca.dir+"/"+file, later, later))
	}
	a.RemovePeer(2)
	b.RemovePeer(1)
	ups := a.ups(2)
	a.SetPeer(2, b.Address())
	waitFor(t, "a connection with the new certificates", func() bool { return a.ups(2) > ups })
	old := listen(t, identity(3), tcp.Options{TLS: next.host("h3", identity(3))})
	connectedTo(t, old, 2, b)
}

func TestGarbageIsRefused(t *testing.T) {
	b := listen(t, identity(2), tcp.Options{HandshakeTimeout: 200 * time.Millisecond, IdleTimeout: 200 * time.Millisecond})
	rng := rand.New(rand.NewPCG(uint64(testkit.Seed(t)), 0))
	for i := range 50 {
		conn, err := net.Dial("tcp", b.Address())
		require.NoError(t, err)
		garbage := make([]byte, rng.IntN(5000))
		for j := range garbage {
			garbage[j] = byte(rng.Uint32())
		}
		switch i % 4 {
		case 1: // another protocol
			garbage = []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		case 2: // half a handshake
			garbage = []byte("raftlab raft\n")
		case 3: // a giant frame
			garbage = append([]byte("raftlab raft\n"), 0xff, 0xff, 0xff, 0x7f, 4, 0, 0, 0, 0)
		}
		_, _ = conn.Write(garbage)
		if i%4 != 2 {
			_, _ = io.Copy(io.Discard, conn) // until it is closed
		}
		conn.Close()
	}
	a := listen(t, identity(1), tcp.Options{})
	connectedTo(t, a, 2, b)
	a.Send(2, []node.Message{vote(1)})
	waitFor(t, "a message", func() bool { return len(b.from(1)) == 1 })
}

func TestSlowDripIsCutOff(t *testing.T) {
	b := listen(t, identity(2), tcp.Options{HandshakeTimeout: 100 * time.Millisecond})
	conn, err := net.Dial("tcp", b.Address())
	require.NoError(t, err)
	defer conn.Close()
	for i := 0; ; i++ {
		if _, err := conn.Write([]byte{"raftlab raft\n"[i%12]}); err != nil {
			break // the connection is closed
		}
		require.Less(t, i, 1000, "the connection is still open")
		time.Sleep(10 * time.Millisecond)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	b := listen(t, identity(2), tcp.Options{MaxConnections: 3})
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range 10 {
		conn, err := net.Dial("tcp", b.Address())
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	waitFor(t, "seven refusals", func() bool { return b.Stats().Refused == 7 })
}

// A peer that does not answer is noticed, although its port accepts.
func TestSilentPeerIsNoticed(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	a := listen(t, identity(1), tcp.Options{HandshakeTimeout: 50 * time.Millisecond})
	a.SetPeer(2, silent.Addr().String())
	for range 3 { // attempts
		conn, err := silent.Accept()
		require.NoError(t, err)
		defer conn.Close()
	}
	require.Zero(t, a.ups(2))
}

func TestQueueIsBounded(t *testing.T) {
	a, b := listen(t, identity(1), tcp.Options{MaxQueueBytes: 10_000}), listen(t, identity(2), tcp.Options{})
	a.Send(2, []node.Message{vote(1)}) // to a peer that is not known
	require.EqualValues(t, 1, a.Stats().Dropped)
	connectedTo(t, a, 2, b)
	burst := make([]node.Message, 1000)
	for i := range burst {
		burst[i] = vote(uint64(i))
	}
	a.Send(2, burst)
	dropped := a.Stats().Dropped - 1
	require.Greater(t, dropped, int64(800))
	waitFor(t, "the rest", func() bool { return int64(len(b.from(1))) == 1000-dropped })
}

func TestCommandAboveTheFrameLimitIsDropped(t *testing.T) {
	a, b := listen(t, identity(1), tcp.Options{MaxFrameBytes: 1 << 12}), listen(t, identity(2), tcp.Options{MaxFrameBytes: 1 << 12})
	connectedTo(t, a, 2, b)
	a.Send(2, []node.Message{{Group: 1, Body: &core.AppendEntries{Term: 1, LeaderID: 1, Entries: []core.Entry{{Index: 1, Term: 1, Data: make([]byte, 5000)}}}}, vote(1)})
	waitFor(t, "the other message", func() bool { return len(b.from(1)) == 1 })
	require.True(t, a.logged("message not sent"))
}

func TestCloseEndsEveryGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		a, b := listen(t, identity(1), tcp.Options{}), listen(t, identity(2), tcp.Options{})
		connectedTo(t, a, 2, b)
		require.NoError(t, a.Close())
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	}
	waitFor(t, "the end of goroutines", func() bool { return runtime.NumGoroutine() <= before })
}

func TestOptionsAreChecked(t *testing.T) {
	for _, tt := range []struct {
		opts tcp.Options
		want string
	}{
		{tcp.Options{}, "either Options.TLS or Options.Plaintext"},
		{tcp.Options{TLS: &tcp.TLS{}, Plaintext: true}, "either Options.TLS or Options.Plaintext"},
		{tcp.Options{Plaintext: true, MaxFrameBytes: 1}, "MaxFrameBytes is 1"},
		{tcp.Options{Plaintext: true, MaxBackoff: 1}, "MaxBackoff 1ns"},
	} {
		_, err := tcp.Listen(tt.opts)
		require.ErrorIs(t, err, tcp.ErrOptions)
		require.ErrorContains(t, err, tt.want)
	}
	_, err := tcp.Listen(tcp.Options{TLS: &tcp.TLS{CertFile: "nowhere.pem"}})
	require.True(t, errors.Is(err, os.ErrNotExist), "%v", err)
}

// Certificates may name a cluster whose hosts have another identity. The handshake
// still keeps the identities apart.
func TestCertificateOfARestoredCluster(t *testing.T) {
	ca := newAuthority(t)
	every := ca.anyHost("every", "test")
	restored := func() *tcp.TLS {
		files := ca.files("every")
		files.Cluster = "test"
		return files
	}
	as := func(host core.NodeID) node.Identity { return node.Identity{Cluster: "test#2", Host: host} }
	a, b := listen(t, as(1), tcp.Options{TLS: restored()}), listen(t, as(2), tcp.Options{TLS: restored()})
	connectedTo(t, a, 2, b)
	echo(t, a)
	ctx := within(t, 10*time.Second)
	s, err := b.DialStreamAddress(ctx, a.Address())
	require.NoError(t, err)
	checkEcho(t, s, 2)

	former := listen(t, identity(3), tcp.Options{TLS: every})
	_, err = former.DialStreamAddress(ctx, a.Address())
	require.ErrorIs(t, err, tcp.ErrRefused)
	require.ErrorIs(t, err, tcp.ErrCluster)
	require.ErrorContains(t, err, `and host 1 of \"test#2\"`)
	other := restored()
	other.Cluster = "other"
	transport, err := tcp.Listen(tcp.Options{Listen: "127.0.0.1:0", TLS: other})
	require.NoError(t, err)
	require.ErrorIs(t, transport.Start(as(4), newRecorder()), tcp.ErrPeer)
	require.NoError(t, transport.Close())
}

// Messages that wait for a connection when the connection ends are dropped, and counted.
func TestQueuedMessagesOfALostConnectionAreCounted(t *testing.T) {
	a, b := listen(t, identity(1), tcp.Options{}), listen(t, identity(2), tcp.Options{})
	connectedTo(t, a, 2, b)
	large := node.Message{Group: 7, Body: &core.AppendEntries{Term: 1, LeaderID: 1, Entries: []core.Entry{{Index: 1, Term: 1, Data: make([]byte, 1<<20)}}}}
	b.mu.Lock() // b receives nothing more, so a cannot write what follows
	unlock := sync.OnceFunc(b.mu.Unlock)
	defer unlock()
	a.Send(2, slices.Repeat([]node.Message{large}, 32))
	waitFor(t, "the first frame", func() bool { return a.Stats().SentBytes > 0 })
	a.Send(2, []node.Message{vote(1), vote(2), vote(3)})
	require.Zero(t, a.Stats().ByPeer[2].Dropped)
	var closing sync.WaitGroup
	closing.Go(func() { _ = b.Close() })
	waitFor(t, "the queued messages", func() bool { return a.Stats().ByPeer[2].Dropped == 3 })
	unlock()
	testkit.AwaitGroup(t, "each Close", &closing)
}

// Each peer has figures of its own.
func TestFiguresOfPeers(t *testing.T) {
	a, b := listen(t, identity(1), tcp.Options{IdleTimeout: time.Second}), listen(t, identity(2), tcp.Options{})
	a.SetPeer(1, a.Address()) // the membership has the host itself, too
	a.SetPeer(3, reserved(t)) // a peer that is down
	connectedTo(t, a, 2, b)
	connectedTo(t, b, 1, a)
	a.Send(2, []node.Message{vote(1)})
	waitFor(t, "the message", func() bool { return len(b.from(1)) == 1 })
	waitFor(t, "pongs of the peer", func() bool { return a.Stats().ByPeer[2].RoundTrips.Count() >= 2 })
	a.Send(3, []node.Message{vote(1), vote(2)})

	all := a.Stats().ByPeer
	require.Len(t, all, 2)
	require.Positive(t, all[2].SentBytes)
	require.Zero(t, all[2].Dropped)
	require.Positive(t, all[2].RoundTrips.Sum)
	require.Less(t, all[2].RoundTrips.Quantile(1), 4*time.Second) // a later answer has ended the connection
	require.Equal(t, tcp.PeerStats{Dropped: 2}, all[3])
	waitFor(t, "the bytes of the sender", func() bool { return b.Stats().ByPeer[1].ReceivedBytes >= all[2].SentBytes })
	require.Zero(t, b.Stats().ByPeer[1].SentBytes, "pings are no messages")
}
