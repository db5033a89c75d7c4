//go:build !wasip1

package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"raftlab/internal/httpkv"
)

func newShardsCommand() *cobra.Command {
	conn := new(connection)
	list := newShardsListCommand(conn)
	cmd := &cobra.Command{
		Use:   "shards",
		Short: "Show and change which group of a running server has which shard",
		Long: `Show and change which group of a running server (serve --groups) has which shard.
The store goes on serving while shards move.

join and leave spread the shards evenly again, with as few moves as possible. move
gives one shard to a group, until groups join or leave. All three print the number
of the configuration with the change, and list shows its progress.`,
		Args: cobra.NoArgs,
		RunE: list.RunE,
	}
	cmd.Flags().AddFlagSet(list.Flags())
	conn.addFlags(cmd)
	cmd.AddCommand(list, newMoveCommand(conn))
	for verb, short := range map[string]string{
		"join":  "Make groups members, with their part of the shards",
		"leave": "End the membership of groups, and spread their shards over the others",
	} {
		cmd.AddCommand(&cobra.Command{
			Use:   verb + " GROUP...",
			Short: short,
			Args:  cobra.MinimumNArgs(1),

			ValidArgsFunction: conn.groups(verb),
			RunE: func(cmd *cobra.Command, args []string) error {
				groups, err := integers("group", args)
				if err != nil {
					return err
				}
				return conn.use(cmd, seeShards, func(ctx context.Context, client *httpkv.Client) error {
					config, err := client.ChangeGroups(ctx, verb, groups)
					return printConfig(cmd, config, err)
				})
			},
		})
	}
	return cmd
}

func newMoveCommand(conn *connection) *cobra.Command {
	return &cobra.Command{
		Use:   "move SHARD GROUP",
		Short: "Give a shard to a group",
		Args:  cobra.ExactArgs(2),

		ValidArgsFunction: conn.shardThenGroup(),
		RunE: func(cmd *cobra.Command, args []string) error {
			shard, err := integers("shard", args[:1])
			if err != nil {
				return err
			}
			group, err := integers("group", args[1:])
			if err != nil {
				return err
			}
			return conn.use(cmd, seeShards, func(ctx context.Context, client *httpkv.Client) error {
				config, err := client.MoveShard(ctx, shard[0], group[0])
				return printConfig(cmd, config, err)
			})
		},
	}
}

func integers(what string, args []string) ([]int, error) {
	all := make([]int, len(args))
	for i, arg := range args {
		n, err := strconv.Atoi(arg)
		if err != nil {
			return nil, usageError("%q is not a %s's number", arg, what)
		}
		all[i] = n
	}
	return all, nil
}

func printConfig(cmd *cobra.Command, config int, err error) error {
	if err == nil {
		fmt.Fprintf(cmd.OutOrStdout(), "configuration %d\n", config)
	}
	return err
}

func newShardsListCommand(conn *connection) *cobra.Command {
	return newShowCommand(conn, "list", "Show which group has which shard", (*httpkv.Client).Layout, printLayout)
}

func printLayout(out io.Writer, l httpkv.Layout) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "configuration %d\n\nSHARD\tGROUP\tSTATE\tKEYS\n", l.Config)
	for _, s := range l.Shards {
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\n", s.Shard, orNone(s.Group), s.State, s.Keys)
	}
	fmt.Fprintln(w, "\nGROUP\tMEMBER\tSHARDS\tKEYS\tREPLICAS\tLEADER\tCONFIGURATION")
	for _, g := range l.Groups {
		member := "no"
		if g.Member {
			member = "yes"
		}
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d to %d\t%s\t%d\n", g.Group, member, g.Shards, g.Keys,
			g.Replicas[0], g.Replicas[len(g.Replicas)-1], orNone(g.Leader), g.Config)
	}
	return w.Flush()
}

// orNone writes a number, 0 as "none".
func orNone(n int) string {
	if n == 0 {
		return "none"
	}
	return strconv.Itoa(n)
}
