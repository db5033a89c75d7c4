//go:build !wasip1

package member_test

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"raftlab/internal/member"
	"raftlab/internal/testkit"
	"raftlab/raft/node"
)

// until repeats a request to a member until the member answers without an error. A
// leader may change on a busy machine.
func (c *cluster) until(what string, request func(ctx context.Context) error) {
	c.Helper()
	testkit.WaitFor(c, patience, what, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return request(ctx) == nil
	})
}

// join starts one more member, which asks n1 for its addition.
func (c *cluster) join(name string, change func(*member.Options)) error {
	c.Helper()
	o := c.common(name)
	o.ListenPeer, o.Join = testkit.FreeAddress(c.T), []string{scheme(c.secure) + c.members["n1"].Address().String()}
	change(&o)
	m, err := member.Start(o)
	if err == nil {
		c.options[name], c.members[name] = o, m
	}
	return err
}

func (c *cluster) remove(name string) {
	c.Helper()
	id := uint64(c.members[name].Server().Node().ID())
	client := pb.NewClusterClient(c.conn("n1"))
	c.until("the removal of "+name, func(ctx context.Context) error {
		_, err := client.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id}, grpc.WaitForReady(true))
		return err
	})
}

// endRemoved waits until a member learns of its removal, and closes it.
func (c *cluster) endRemoved(m *member.Member) {
	c.Helper()
	ended := make(chan error, 1)
	go func() { ended <- m.Wait() }()
	require.ErrorIs(c, testkit.Receive(c, "the member to learn of its removal", ended), node.ErrRemoved)
	require.NoError(c, m.Close())
}

// The former data of a removed member does not start in the place of a new member that has
// the name and the address. Entries that the new member has acknowledged are not in the
// former data.
func TestFormerDataOfRemovedMember(t *testing.T) {
	t.Parallel()
	c := newCluster(t, false)
	require.NoError(t, c.join("n4", func(*member.Options) {}))
	c.put("n4", "k")
	former := c.options["n4"]
	c.remove("n4")
	c.endRemoved(c.members["n4"])
	delete(c.members, "n4")
	require.NoError(t, c.join("n4", func(o *member.Options) { o.ListenPeer, o.Data = former.ListenPeer, former.Data+".new" }))
	c.put("n4", "l")
	c.stop("n4")
	m, err := member.Start(former)
	require.NoError(t, err)
	c.endRemoved(m)
	c.start("n4")
	c.has("n4", "k", "l")
}

// told is a log that tells of a first message with some words.
type told struct {
	slog.Handler
	words string
	once  sync.Once
	heard chan struct{}
}

func (l *told) Enabled(context.Context, slog.Level) bool { return true }

func (l *told) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, l.words) {
		l.once.Do(func() { close(l.heard) })
	}
	return nil
}

func (l *told) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *told) WithGroup(string) slog.Handler      { return l }

// A member that joins while the cluster has no leader waits for one.
func TestJoinWithoutALeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t, false)
	c.put("n1", "k")
	c.stop("n2")
	c.stop("n3")
	log := &told{words: "the cluster does not add a member yet", heard: make(chan struct{})}
	joined, second := make(chan error, 1), c.options["n2"]
	go func() { joined <- c.join("n4", func(o *member.Options) { o.Logger = slog.New(log) }) }()
	select {
	case <-log.heard:
	case err := <-joined:
		t.Fatalf("the member has not waited: %v", err)
	case <-time.After(patience):
		t.Fatal("the member neither waits nor joins")
	}
	m, err := member.Start(second)
	require.NoError(t, err)
	require.NoError(t, testkit.Receive(t, "the member to join", joined))
	c.members["n2"] = m
	c.put("n4", "l")
	c.has("n4", "k", "l")
}

// unlessMade is the error of a repeated request, or nil if an earlier one without an answer has
// made what the request makes.
func unlessMade(err error) error {
	if err != nil && strings.Contains(err.Error(), "already exist") {
		return nil
	}
	return err
}

// A member that an operator has added finds its id at the others. Without its data the
// member does not start again.
func TestAddedMember(t *testing.T) {
	t.Parallel()
	c := newCluster(t, true)
	c.put("n1", "k")
	existing := func(o *member.Options) {
		o.Join, o.Existing, o.Cluster = nil, true, maps.Clone(c.options["n1"].Cluster)
		o.Cluster["n4"] = o.ListenPeer
	}
	require.ErrorContains(t, c.join("n4", existing), "the cluster has no member at 127.0.0.1:")
	address := testkit.FreeAddress(t)
	c.until("the addition", func(ctx context.Context) error {
		_, err := pb.NewClusterClient(c.conn("n1")).MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"https://" + address}})
		return unlessMade(err)
	})
	at := func(o *member.Options) {
		o.ListenPeer = address
		existing(o)
	}
	require.NoError(t, c.join("n4", at))
	c.put("n4", "l")
	c.stop("n4")
	require.ErrorContains(t, c.join("n4", func(o *member.Options) {
		at(o)
		o.Data += ".lost"
	}), "remove the member first")
	c.start("n4")
	c.has("n4", "k", "l")
}

// A cluster with users adds a member for a user with the role root.
func TestJoinWithUsers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, false)
	c.put("n1", "k")
	users := pb.NewAuthClient(c.conn("n1"))
	for _, one := range []string{"root", "guest"} {
		c.until("the user "+one, func(ctx context.Context) error {
			_, err := users.UserAdd(ctx, &pb.AuthUserAddRequest{Name: one, Password: "secret"})
			return unlessMade(err)
		})
	}
	c.until("the grant", func(ctx context.Context) error {
		_, err := users.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"})
		return err
	})
	c.until("users", func(ctx context.Context) error {
		_, err := users.AuthEnable(ctx, &pb.AuthEnableRequest{})
		return err
	})
	for user, says := range map[string]string{
		"":             "name one with the role root with --join-user",
		"root":         "want NAME:PASSWORD",
		"root:wrong":   "the user root of --join-user",
		"guest:secret": "only users with the role root add members",
	} {
		require.ErrorContains(t, c.join("n4", func(o *member.Options) { o.JoinUser = user }), says, "%q", user)
	}
	require.NoError(t, c.join("n4", func(o *member.Options) { o.JoinUser = "root:secret" }))
	c.ready("n4")
}

// A cluster whose members have all moved records the new addresses, and members find each
// other by them from then on.
func TestNewAddresses(t *testing.T) {
	t.Parallel()
	c := newCluster(t, false)
	c.put("n1", "k")
	moved := make(map[string]string)
	for name := range c.options {
		c.stop(name)
		moved[name] = testkit.FreeAddress(t)
	}
	for name, o := range c.options {
		o.Cluster, o.ListenPeer = moved, moved[name]
		c.options[name] = o
		c.start(name)
	}
	recorded := func(name string) map[string]string {
		all := make(map[string]string)
		client := pb.NewClusterClient(c.conn(name))
		c.until("the members", func(ctx context.Context) error {
			list, err := client.MemberList(ctx, &pb.MemberListRequest{Linearizable: true}, grpc.WaitForReady(true))
			for _, one := range list.GetMembers() {
				all[one.Name] = one.PeerURLs[0]
			}
			return err
		})
		return all
	}
	want := make(map[string]string)
	for name, address := range moved {
		want[name] = "http://" + address
	}
	for name := range c.members {
		testkit.WaitFor(t, patience, "the new addresses on "+name, func() bool { return maps.Equal(want, recorded(name)) })
	}
	for name, o := range c.options {
		c.stop(name)
		o.Cluster = nil
		c.options[name] = o
	}
	for name := range c.options {
		c.start(name)
	}
	c.has("n1", "k")
}
