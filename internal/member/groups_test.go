//go:build !wasip1

package member_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/datadir"
	"raftlab/internal/httpkv"
	"raftlab/internal/member"
	"raftlab/internal/testkit"
	"raftlab/kv"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// newGroups starts three members of a store with two groups.
func newGroups(t *testing.T, secure bool) *cluster {
	c := &cluster{T: t, dir: t.TempDir(), secure: secure, options: make(map[string]member.Options), members: make(map[string]*member.Member)}
	if secure {
		c.makeCertificates()
	}
	first := make(map[string]string)
	for i := 1; i <= 3; i++ {
		first[fmt.Sprint("n", i)] = testkit.FreeAddress(t)
	}
	for name, address := range first {
		o := c.common(name)
		o.ListenPeer, o.Cluster, o.Groups = address, first, 2
		o.V1.Patience = 2 * time.Second
		c.options[name] = o
		c.start(name)
	}
	t.Cleanup(func() {
		for name := range c.members {
			c.stop(name)
		}
	})
	return c
}

func (c *cluster) v1(name string) *httpkv.Client {
	client := &httpkv.Client{
		BaseURL: scheme(c.secure) + c.members[name].Address().String(),
		HTTP:    &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(c)}},
	}
	c.Cleanup(client.HTTP.CloseIdleConnections)
	return client
}

// within bounds a request.
func (c *cluster) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.Cleanup(cancel)
	return ctx
}

// settle waits until the groups serve all shards.
func (c *cluster) settle(name string) (l httpkv.Layout) {
	c.Helper()
	testkit.WaitFor(c, patience, "all shards to be served", func() bool {
		var err error
		l, err = c.v1(name).Layout(c.within())
		served := 0
		for _, s := range l.Shards {
			if s.State == "served" {
				served++
			}
		}
		return err == nil && served == 10
	})
	return l
}

// Each member serves all keys, whichever leads their groups. Shards move, and members
// restart, also at other addresses, with TLS and without.
func TestGroups(t *testing.T) {
	t.Parallel()
	for name, secure := range map[string]bool{"plaintext": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newGroups(t, secure)
			names := []string{"n1", "n2", "n3"}
			c.settle("n1")
			for _, name := range names {
				for _, key := range []string{"0", "5"} { // of both groups
					_, err := c.v1(name).Do(c.within(), httpkv.Write{Op: kv.Append(key, name), IdempotencyKey: name})
					require.NoError(t, err)
				}
			}
			_, err := c.v1("n2").Do(c.within(), httpkv.Write{Op: kv.Append("0", "n1"), IdempotencyKey: "n1"})
			require.NoError(t, err, "a repeated write at another member")
			testkit.WaitFor(t, patience, "the outcome of a transaction that may be repeated", func() bool {
				answer, err := c.v1("n3").Txn(c.within(), []byte(`{"compare":[{"key":"0","value":"n1n2n3"}],"success":[{"put":{"key":"0t","value":"x"}},{"put":{"key":"5t","value":"x"}}]}`))
				if err != nil {
					require.ErrorAs(t, err, new(*httpkv.OpenError))
					return false
				}
				return answer.Succeeded
			})
			config, err := c.v1("n3").ChangeGroups(c.within(), "leave", []int{1})
			require.NoError(t, err)
			require.Equal(t, config, c.settle("n2").Config)
			for _, name := range names {
				c.stop(name)
				o := c.options[name]
				o.ListenPeer = testkit.FreeAddress(t)
				o.Cluster = map[string]string{}
				for other, address := range c.options[name].Cluster {
					o.Cluster[other] = address
				}
				for other := range o.Cluster {
					o.Cluster[other] = c.options[other].ListenPeer
				}
				o.Cluster[name], o.Groups = o.ListenPeer, 0 // the directory has the number of groups
				c.options[name] = o
				c.start(name)
				pair, err := c.v1(name).Get(c.within(), "0")
				require.NoError(t, err)
				require.Equal(t, "n1n2n3", pair.Value)
			}
			c.settle("n1")
			pair, err := c.v1("n2").Get(c.within(), "5t")
			require.NoError(t, err)
			require.Equal(t, "x", pair.Value)
		})
	}
}

// The probes, the figures and the status have all groups.
func TestGroupsPages(t *testing.T) {
	t.Parallel()
	c := newGroups(t, false)
	c.ready("n1")
	for path, says := range map[string]string{
		"/health":  `{"health":"true","reason":""}`,
		"/livez":   "ok",
		"/readyz":  "ok",
		"/metrics": `etcd_server_has_leader{group="controller"} 1`,
	} {
		c.serves("n1", path, says)
	}
	c.settle("n1")
	testkit.WaitFor(t, patience, "the page to show leaders and shards", func() bool {
		_, page := c.get("n1", "/")
		return !strings.Contains(page, ">none</strong>") && strings.Count(page, "<td>served</td>") == 10 && strings.Contains(page, "3 of 3")
	})
	code, _ := c.get("n1", "/v3/kv/range")
	require.Equal(t, http.StatusNotFound, code, "etcd's API")
	require.Nil(t, c.members["n1"].Server())
	c.settle("n1")
	var status httpkv.ClusterStatus
	testkit.WaitFor(t, patience, "all replicas to know a leader", func() bool {
		var err error
		status, err = c.v1("n2").Status(c.within())
		return err == nil && !slices.ContainsFunc(status.Replicas, func(r httpkv.ReplicaStatus) bool { return r.Leader == 0 })
	})
	require.Len(t, status.Replicas, 9)
	for i, r := range status.Replicas {
		require.Equal(t, i+1, r.Number)
		require.Equal(t, []string{"1", "2", "controller"}[i/3], r.Group)
		require.Equal(t, fmt.Sprint("n", i%3+1), r.Name)
		require.Equal(t, "running", r.State)
		require.Contains(t, []int{i/3*3 + 1, i/3*3 + 2, i/3*3 + 3}, r.Leader)
	}
	require.ErrorContains(t, c.v1("n1").ChangeReplica(c.within(), 1, "stop"), "a process of its own")
	c.stop("n2")
	o := c.options["n2"]
	o.Admin, o.Groups = true, 0 // the directory has the number of groups
	_, err := member.Start(o)
	require.ErrorIs(t, err, member.ErrOptions)
	require.ErrorContains(t, err, "--admin is for a member of a store without groups")
	c.stop("n3")
	code, body := c.get("n1", "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code, body)
	code, body = c.get("n1", "/livez")
	require.Equal(t, http.StatusOK, code, body)
	status, err = c.v1("n1").Status(c.within())
	require.NoError(t, err)
	require.Equal(t, "unreachable", status.Replicas[1].State)
}

// A member that has lost its data, has another number of groups or other members is
// refused, and the error names both.
func TestGroupsStrangers(t *testing.T) {
	t.Parallel()
	c := newGroups(t, true)
	c.settle("n1")
	testkit.WaitFor(t, patience, "the others to remember n3", func() bool {
		for _, name := range []string{"n1", "n2"} {
			m, err := datadir.Read(c.options[name].Data)
			require.NoError(t, err)
			if len(m.Known) < 2 {
				return false
			}
		}
		return true
	})
	c.stop("n3")
	o := c.options["n3"]
	refused := func(o member.Options, want error, says ...string) {
		t.Helper()
		_, err := member.Start(o)
		require.ErrorIs(t, err, want)
		for _, s := range says {
			require.ErrorContains(t, err, s)
		}
	}
	other := o
	other.Groups = 3
	refused(other, datadir.ErrGroups, "was made for 2 groups", "cannot be used with 3")
	other = o
	other.Cluster = map[string]string{"n3": o.Cluster["n3"], "n4": testkit.FreeAddress(t)}
	refused(other, member.ErrOptions, "n3, n4", "n1, n2, n3")

	o.Data = filepath.Join(c.dir, "lost")
	refused(o, member.ErrNoData, "n3 has run before")
	refused(o, member.ErrNoData, "n3 has run before")
	o.Data, o.Groups = filepath.Join(c.dir, "three groups"), 3
	refused(o, member.ErrNoData, "groups: 2", "groups: 3")
	o.Data, o.Groups = filepath.Join(c.dir, "no groups"), 0
	refused(o, member.ErrNoData, "is not of this cluster")
	o.Data, o.Groups = filepath.Join(c.dir, "other members"), 2
	o.Name, o.Cluster = "n4", map[string]string{"n1": o.Cluster["n1"], "n4": o.Cluster["n3"]}
	refused(o, member.ErrOptions, "n1, n4", "n1, n2, n3")

	// All the starts that were refused have left the directory whole.
	report, err := datadir.Verify(c.options["n3"].Data)
	require.NoError(t, err)
	require.Len(t, report.Groups, 3, "two groups and the controllers")
	c.start("n3")
	pair, err := c.v1("n3").Do(c.within(), httpkv.Write{Op: kv.Put("k", "v")})
	require.NoError(t, err)
	require.NotZero(t, pair)
}

// nobody receives no messages.
type nobody struct{}

func (nobody) Receive(core.NodeID, []node.Message) {}
func (nobody) PeerUp(core.NodeID)                  {}
func (nobody) PeerDown(core.NodeID, error)         {}

// A member ends streams to servers that it does not have, streams that say nothing, and
// calls with garbage, and serves on.
func TestGroupsHostileStreams(t *testing.T) {
	t.Parallel()
	c := newGroups(t, false)
	c.settle("n1")
	hostile, err := tcp.Listen(tcp.Options{Listen: "127.0.0.1:0", Plaintext: true})
	require.NoError(t, err)
	defer hostile.Close()
	require.NoError(t, hostile.Start(node.Identity{Cluster: datadir.GroupsIdentity("test", 2), Host: 99}, nobody{}))
	streams := make(map[string]*tcp.Stream)
	for _, begin := range []string{"", "\xff", "\x03abc", "\x00", "\x04n1/1GET / HTTP/1.1\r\n\r\n", "\x04n1/1"} {
		s, err := hostile.DialStreamAddress(c.within(), c.options["n1"].ListenPeer)
		require.NoError(t, err)
		_, err = s.Write([]byte(begin))
		require.NoError(t, err)
		streams[begin] = s
	}
	for begin, s := range streams {
		require.NoError(t, s.SetReadDeadline(time.Now().Add(patience)))
		_, err := io.ReadAll(s)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the member does not end the stream that begins with %q", begin)
		require.NoError(t, s.Close())
	}
	_, err = c.v1("n1").Do(c.within(), httpkv.Write{Op: kv.Put("k", "v")})
	require.NoError(t, err)
}
