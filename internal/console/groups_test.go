//go:build !wasip1

package console_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/internal/cluster"
	"raftlab/internal/console"
	"raftlab/internal/shardstore"
	"raftlab/internal/testkit"
)

// groupsStatus is what two processes have of two groups and the controllers. The second
// process is down.
func groupsStatus() (all []cluster.Status) {
	for _, group := range []string{"1", "2", "controller"} {
		all = append(all,
			cluster.Status{Name: "n1", Group: group, State: "running", Role: "leader", Term: 7, LastIndex: 9, CommitIndex: 8, AppliedIndex: 8, SnapshotIndex: 5, Keys: 3},
			cluster.Status{Name: "<n2>", Group: group, State: "unreachable"})
	}
	return all
}

func groupsLayout(context.Context) (shardstore.Layout, error) {
	l := shardstore.Layout{Config: 4, Groups: []shardstore.GroupStatus{
		{Group: 1, Member: true, Config: 4, Shards: 1, Keys: 3}, {Group: 2, Config: 3},
	}}
	l.Shards = []shardstore.ShardPlace{
		{Shard: 0, Group: 1, State: "served", Keys: 3},
		{Shard: 1, Group: 1, State: "arriving", From: 2},
		{Shard: 2, Group: 1, State: "arriving"},
		{Shard: 3, State: "unknown", From: 2},
	}
	return l, nil
}

// The page of a store with groups shows groups, leaders, terms, logs, the places of the
// shards and moves. Foreign pages get nothing, and names are escaped.
func TestGroupsPage(t *testing.T) {
	t.Parallel()
	o := console.GroupsOptions{
		Title: "store test", Status: groupsStatus, Layout: groupsLayout, Logger: slog.New(slog.DiscardHandler),
		Next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
	}
	h := console.NewGroups(o)
	w := get(h, http.MethodGet, "localhost", "/")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	page := strings.Join(strings.Fields(w.Body.String()), " ")
	for _, says := range []string{
		`<span class="pill">configuration 4</span>`,
		`<th scope="row">1</th> <td>n1</td> <td>7</td> <td class="bad">1 of 2</td><td>1</td><td>3</td><td>4</td>`,
		`<td>3 <strong class="bad">behind</strong> (no member)</td>`,
		`<th scope="row">0</th><td>1</td><td>served</td><td>3</td>`,
		`<th scope="row">3</th><td>none</td><td class="bad">unknown</td>`,
		`<ul id="moves"><li>shard 1: from group 2 to group 1</li><li>shard 2: to group 1</li></ul>`,
		`leader in term 7<br>applied 8, committed 8, last 9, snapshot 5`,
		`<th scope="col">&lt;n2&gt;</th>`,
		`<span class="bad">unreachable</span>`,
	} {
		require.Contains(t, page, says)
	}
	require.Equal(t, http.StatusForbidden, get(h, http.MethodGet, "evil.example", "/").Code)
	require.Equal(t, http.StatusOK, get(h, http.MethodGet, "localhost", "/ui/style.css").Code)
	require.Equal(t, http.StatusTeapot, get(h, http.MethodGet, "localhost", "/v1/kv/a").Code)
	require.Equal(t, http.StatusTeapot, get(h, http.MethodGet, "localhost", "/ui/app.js").Code)

	o.Layout = func(ctx context.Context) (shardstore.Layout, error) {
		_, limited := ctx.Deadline()
		require.True(t, limited)
		return shardstore.Layout{}, errors.New("the controllers have no leader")
	}
	w = get(console.NewGroups(o), http.MethodGet, "localhost", "/")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "no layout: the controllers have no leader")
	require.Contains(t, w.Body.String(), "leader in term 7")
}

// Browsers that ask at the same time share a page, and later ones get another one.
func TestGroupsPageIsShared(t *testing.T) {
	testkit.Run(t, func(t *testing.T) {
		made := 0
		h := console.NewGroups(console.GroupsOptions{
			Status: func() []cluster.Status { made++; return groupsStatus() }, Layout: groupsLayout, Logger: slog.New(slog.DiscardHandler),
		})
		for range 10 {
			get(h, http.MethodGet, "localhost", "/")
		}
		require.Equal(t, 1, made)
		time.Sleep(time.Second)
		get(h, http.MethodGet, "localhost", "/")
		require.Equal(t, 2, made)
	})
}
