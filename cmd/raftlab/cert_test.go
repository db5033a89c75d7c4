//go:build !wasip1

package main

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// peers reports the peers that a host reaches.
type peers chan core.NodeID

func (p peers) Receive(core.NodeID, []node.Message) {}
func (p peers) PeerUp(id core.NodeID)               { p <- id }
func (p peers) PeerDown(core.NodeID, error)         {}

// Members with certificates of the command reach each other.
func TestCert(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	path := func(name string) string { return filepath.Join(dir, name) }
	code, out, errOut := runRaftlab("cert", "ca", "--dir", dir)
	require.Equal(t, exitOK, code, errOut)
	require.Equal(t, path("ca.pem")+"\n"+path("ca.key")+"\n", out)
	code, _, errOut = runRaftlab("cert", "member", "1", "n2", "--cluster", "two words", "--dir", dir, "--host", "127.0.0.1")
	require.Equal(t, exitOK, code, errOut)

	up := make(peers, 10)
	var transports []*tcp.Transport
	for _, name := range []string{"member-1", "member-n2"} {
		transport, err := tcp.Listen(tcp.Options{Listen: "127.0.0.1:0", TLS: &tcp.TLS{
			CertFile: path(name + ".pem"), KeyFile: path(name + ".key"), CAFile: path("ca.pem"),
		}})
		require.NoError(t, err)
		defer transport.Close()
		transports = append(transports, transport)
	}
	for i, transport := range transports {
		require.NoError(t, transport.Start(node.Identity{Cluster: "two words", Host: core.NodeID(i + 1)}, up))
		transport.SetPeer(core.NodeID(2-i), transports[1-i].Address())
	}
	for range transports {
		select {
		case <-up:
		case <-time.After(10 * time.Second):
			t.Fatal("the members do not reach each other")
		}
	}

	code, _, errOut = runRaftlab("cert", "client", "alice", "--dir", dir)
	require.Equal(t, exitOK, code, errOut)
	pair, err := tls.LoadX509KeyPair(path("client-alice.pem"), path("client-alice.key"))
	require.NoError(t, err)
	require.Equal(t, "alice", pair.Leaf.Subject.CommonName)
}

func TestCertRefusals(t *testing.T) {
	dir := t.TempDir()
	refused := func(want int, say string, args ...string) {
		t.Helper()
		code, out, errOut := runRaftlab(append([]string{"cert"}, args...)...)
		require.Equal(t, want, code, errOut)
		require.Contains(t, errOut, say)
		require.Empty(t, out)
	}
	refused(exitFailure, "raftlab cert ca --dir "+dir, "member", "1", "--cluster", "c", "--dir", dir)
	refused(exitUsage, "--days 0; want 1", "ca", "--dir", dir, "--days", "0")
	refused(exitUsage, "name is empty", "ca", "--dir", dir, "--name", "")
	code, _, errOut := runRaftlab("cert", "ca", "--dir", dir)
	require.Equal(t, exitOK, code, errOut)
	before, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	require.NoError(t, err)
	refused(exitFailure, "already exists", "ca", "--dir", dir)
	after, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	require.NoError(t, err)
	require.Equal(t, before, after)
	refused(exitUsage, "needs --cluster", "member", "1", "--dir", dir)
	refused(exitUsage, `the member "a/b" is not a name for a file`, "member", "n1", "a/b", "--cluster", "c", "--dir", dir)
	refused(exitUsage, "host", "member", "1", "--cluster", "c", "--dir", dir, "--host", "")
	refused(exitUsage, `"../x" is not a name for a file`, "client", "../x", "--dir", dir)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 2, "only the authority")
}
