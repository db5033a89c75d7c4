//go:build !wasip1

package handler

import (
	"context"
	"net/http"
	"net/url"

	"raftlab/internal/cluster"
	"raftlab/internal/httpkv"
	"raftlab/internal/shardstore"
	"raftlab/shardkv"
)

// Shards is the part that a store with groups has beside [Cluster], such as a
// *cluster.Sharded.
type Shards interface {
	Layout(ctx context.Context) (shardstore.Layout, error)
	Join(ctx context.Context, groups []int) (int, error)
	Leave(ctx context.Context, groups []int) (int, error)
	Move(ctx context.Context, shard, group int) (int, error)
	Txn(ctx context.Context, t shardkv.Txn) (shardkv.TxnResult, error)
}

// routeShards serves the paths of groups and transactions. A store without groups has a
// nil s.
func (h *handler) routeShards(s Shards) {
	if s == nil {
		h.route("/v1/shards", methods{"GET": noShards})
		h.route("/v1/shards/{verb}", methods{"POST": noShards})
		h.route("/v1/txn", methods{"POST": noTxn})
		return
	}
	h.route("/v1/txn", methods{"POST": h.admitted(bodyCost(httpkv.MaxTxnBytes), h.transact(s))})
	h.route("/v1/shards", methods{"GET": h.layout(s)})
	h.route("/v1/shards/join", methods{"POST": h.changeGroups(s.Join)})
	h.route("/v1/shards/leave", methods{"POST": h.changeGroups(s.Leave)})
	h.route("/v1/shards/move", methods{"POST": h.rearrange(func(ctx context.Context, q url.Values) (int, error) {
		groups, err := numbers(q, "group", 1, 1)
		if err != nil {
			return 0, err
		}
		shards, err := numbers(q, "shard", 1, 1)
		if err != nil {
			return 0, err
		}
		return s.Move(ctx, shards[0], groups[0])
	}, "shard", "group")})
}

// noShards answers a request for groups in a store without groups.
func noShards(http.ResponseWriter, *http.Request) error {
	return failure(http.StatusNotFound, httpkv.NoRoute, "this store has no groups; raftlab serve --groups N starts a store with groups")
}

// layout answers a request for the layout.
func (h *handler) layout(s Shards) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, bad := parameters(r); bad != nil {
			return bad
		}
		ctx, cancel := context.WithTimeout(r.Context(), h.opts.Patience)
		defer cancel()
		layout, err := s.Layout(ctx)
		if err != nil {
			return err
		}
		answer := httpkv.Layout{Config: layout.Config}
		for _, place := range layout.Shards {
			answer.Shards = append(answer.Shards, httpkv.ShardPlace(place))
		}
		for _, group := range layout.Groups {
			answer.Groups = append(answer.Groups, httpkv.GroupStatus(group))
		}
		writeJSON(w, http.StatusOK, answer)
		return nil
	}
}

// changeGroups answers a request to make groups join or leave.
func (h *handler) changeGroups(change func(context.Context, []int) (int, error)) action {
	return h.rearrange(func(ctx context.Context, q url.Values) (int, error) {
		groups, err := numbers(q, "group", 1, cluster.MaxGroups)
		if err != nil {
			return 0, err
		}
		return change(ctx, groups)
	}, "group...")
}

// rearrange answers a request to change the layout.
func (h *handler) rearrange(change func(context.Context, url.Values) (int, error), names ...string) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		query, bad := parameters(r, names...)
		if bad != nil {
			return bad
		}
		if bad := noBody(w, r); bad != nil {
			return bad
		}
		ctx, cancel := context.WithTimeout(r.Context(), h.opts.Patience)
		defer cancel()
		num, err := change(ctx, query)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, httpkv.Rearranged{Config: num})
		return nil
	}
}
