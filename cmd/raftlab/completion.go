//go:build !wasip1

package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"raftlab/internal/httpkv"
	"raftlab/sim"
)

const (
	// completionTimeout bounds a request for values, because a shell waits for them.
	completionTimeout = time.Second
	completedKeys     = 100 // of a store, at most
)

// completer returns the values offered by a shell for the next argument.
type completer = cobra.CompletionFunc

// fromServer offers values from the server. Without a server there are none.
func (c *connection) fromServer(ask func(ctx context.Context, client *httpkv.Client, args []string, prefix string) ([]string, error)) completer {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		client, ctx, cancel, err := c.client(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer cancel()
		ctx, stop := context.WithTimeout(ctx, completionTimeout)
		defer stop()
		values, err := ask(ctx, client, args, prefix)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return values, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// keys offers the keys of the store for the first argument.
func (c *connection) keys() completer {
	return c.fromServer(func(ctx context.Context, client *httpkv.Client, args []string, prefix string) ([]string, error) {
		if len(args) > 0 {
			return nil, nil
		}
		pairs, _, err := client.Scan(ctx, "", "", prefix, completedKeys)
		var keys []string
		for _, p := range pairs {
			if printable(p.Key) == p.Key && !strings.ContainsAny(p.Key, "\t:") { // shells and cobra split there
				keys = append(keys, p.Key)
			}
		}
		return keys, err
	})
}

// replicas offers the running replicas for stop, the others for start and repair, the
// connected ones for disconnect, the others for connect, and all for compact.
func (c *connection) replicas(verb string) completer {
	return c.fromServer(func(ctx context.Context, client *httpkv.Client, args []string, _ string) ([]string, error) {
		if len(args) > 0 {
			return nil, nil
		}
		status, err := client.Status(ctx)
		var numbers []string
		for _, r := range status.Replicas {
			runs := r.State == "running" || r.State == "stalled"
			offered := runs == (verb == "stop")
			switch verb {
			case "compact":
				offered = true
			case "connect", "disconnect":
				offered = r.Disconnected == (verb == "connect")
			}
			if offered {
				numbers = append(numbers, fmt.Sprintf("%d\t%s", r.Number, strings.TrimSpace(r.State+" "+r.Role)))
			}
		}
		return numbers, err
	})
}

// groups offers the members for leave, and the other groups for join.
func (c *connection) groups(verb string) completer {
	return c.fromServer(func(ctx context.Context, client *httpkv.Client, _ []string, _ string) ([]string, error) {
		layout, err := client.Layout(ctx)
		var numbers []string
		for _, g := range layout.Groups {
			if g.Member == (verb == "leave") {
				numbers = append(numbers, fmt.Sprintf("%d\t%s", g.Group, count(g.Shards, "shard")))
			}
		}
		return numbers, err
	})
}

// shardThenGroup offers shards for the first argument and groups for the second.
func (c *connection) shardThenGroup() completer {
	return c.fromServer(func(ctx context.Context, client *httpkv.Client, args []string, _ string) ([]string, error) {
		layout, err := client.Layout(ctx)
		var numbers []string
		switch len(args) {
		case 0:
			for _, s := range layout.Shards {
				numbers = append(numbers, fmt.Sprintf("%d\tgroup %s", s.Shard, orNone(s.Group)))
			}
		case 1:
			for _, g := range layout.Groups {
				numbers = append(numbers, strconv.Itoa(g.Group))
			}
		}
		return numbers, err
	})
}

// completeFlags offers the values of flags that take one of a few.
func completeFlags(root *cobra.Command) {
	for _, f := range []struct {
		command, flag string
		values        []string
	}{
		{"sim", "engine", []string{sim.Native, sim.WASM}},
		{"serve", "log-level", []string{"debug", "info", "warn", "error"}},
		{"serve", "log-format", []string{"text", "json"}},
	} {
		cmd, _, err := root.Find([]string{f.command})
		if err == nil {
			err = cmd.RegisterFlagCompletionFunc(f.flag, cobra.FixedCompletions(f.values, cobra.ShellCompDirectiveNoFileComp))
		}
		if err != nil {
			panic(fmt.Sprintf("raftlab: completion of %s --%s: %v", f.command, f.flag, err)) // a flag of our own
		}
	}
}
