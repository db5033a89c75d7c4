//go:build !wasip1

package httpkv

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"raftlab/internal/cluster"
	"raftlab/shardkv"
)

// Shards is what a [Handler] serves besides, if its cluster has it: a store
// whose shards are spread over groups. *cluster.Sharded is one.
type Shards interface {
	Layout(ctx context.Context) (cluster.Layout, error)
	Join(ctx context.Context, groups []int) (int, error)
	Leave(ctx context.Context, groups []int) (int, error)
	Move(ctx context.Context, shard, group int) (int, error)
	Txn(ctx context.Context, t shardkv.Txn) (shardkv.TxnResult, error)
}

// Rearranged is the answer to a change of the layout.
type Rearranged struct {
	Config int `json:"config"` // number of the configuration that has it
}

func (h *handler) handleShards(s Shards) {
	h.handle("POST /v1/txn", h.transact(s))
	h.handle("GET /v1/shards", func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), h.opts.Patience)
		defer cancel()
		layout, err := s.Layout(ctx)
		if err == nil {
			writeJSON(w, http.StatusOK, layout)
		}
		return err
	})
	h.handle("POST /v1/shards/join", h.rearrange(func(ctx context.Context, q url.Values) (int, error) {
		groups, err := numbers(q, "group", 1, cluster.MaxGroups)
		if err != nil {
			return 0, err
		}
		return s.Join(ctx, groups)
	}))
	h.handle("POST /v1/shards/leave", h.rearrange(func(ctx context.Context, q url.Values) (int, error) {
		groups, err := numbers(q, "group", 1, cluster.MaxGroups)
		if err != nil {
			return 0, err
		}
		return s.Leave(ctx, groups)
	}))
	h.handle("POST /v1/shards/move", h.rearrange(func(ctx context.Context, q url.Values) (int, error) {
		groups, err := numbers(q, "group", 1, 1)
		if err != nil {
			return 0, err
		}
		shards, err := numbers(q, "shard", 1, 1)
		if err != nil {
			return 0, err
		}
		return s.Move(ctx, shards[0], groups[0])
	}))
}

// noShards answers for a store that has no groups.
func noShards(http.ResponseWriter, *http.Request) error {
	return failure(http.StatusNotFound, NoRoute, "this store has no groups; raftlab serve --groups starts one that has")
}

// rearrange answers a request to change the layout.
func (h *handler) rearrange(change func(context.Context, url.Values) (int, error)) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), h.opts.Patience)
		defer cancel()
		num, err := change(ctx, r.URL.Query())
		if err == nil {
			writeJSON(w, http.StatusOK, Rearranged{Config: num})
		}
		return err
	}
}

// numbers reads a query's parameter, which is given so many times.
func numbers(q url.Values, name string, least, most int) ([]int, error) {
	texts := q[name]
	if len(texts) < least || len(texts) > most {
		return nil, failure(http.StatusBadRequest, BadRequest, "%s is given %d times; want %d to %d", name, len(texts), least, most)
	}
	all := make([]int, len(texts))
	for i, text := range texts {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, failure(http.StatusBadRequest, BadRequest, "%s is %q; want a number", name, text)
		}
		all[i] = n
	}
	return all, nil
}

// Layout returns which group has which shard.
func (c *Client) Layout(ctx context.Context) (cluster.Layout, error) {
	var l cluster.Layout
	_, body, err := c.send(ctx, http.MethodGet, "/v1/shards", nil, nil)
	if err == nil {
		err = json.Unmarshal(body, &l)
	}
	return l, err
}

// ChangeGroups has groups join or leave; verb is "join" or "leave". It returns
// the number of the configuration.
func (c *Client) ChangeGroups(ctx context.Context, verb string, groups []int) (int, error) {
	q := make(url.Values)
	for _, g := range groups {
		q.Add("group", strconv.Itoa(g))
	}
	return c.changeLayout(ctx, verb, q)
}

// MoveShard gives a shard to a group, and returns the number of the configuration.
func (c *Client) MoveShard(ctx context.Context, shard, group int) (int, error) {
	return c.changeLayout(ctx, "move", url.Values{"shard": {strconv.Itoa(shard)}, "group": {strconv.Itoa(group)}})
}

func (c *Client) changeLayout(ctx context.Context, verb string, q url.Values) (int, error) {
	_, body, err := c.send(ctx, http.MethodPost, fmt.Sprintf("/v1/shards/%s?%s", verb, q.Encode()), nil, nil)
	if err != nil {
		return 0, err
	}
	var done Rearranged
	err = json.Unmarshal(body, &done)
	return done.Config, err
}
