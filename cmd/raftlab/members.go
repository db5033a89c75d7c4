//go:build !wasip1

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"raftlab/internal/httpkv"
)

// seeMembers is advice after a change with an open outcome.
const seeMembers = "raftlab member list shows the processes, and the same command again continues the change"

func newMemberCommand() *cobra.Command {
	conn := new(connection)
	cmd := &cobra.Command{
		Use:   "member",
		Short: "Show and remove the processes of a store with groups (serve --name --groups)",
		Long: `Show and remove the processes of a store with groups (serve --name --groups).

A process without data joins a running store with raftlab serve --join, and takes the
place of another process with --replace. The members of a cluster without groups are
changed with etcdctl member.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError("member needs a command: list or remove NAME")
		},
	}
	conn.addFlags(cmd)
	cmd.AddCommand(newShowCommand(conn, "list", "Show the processes", (*httpkv.Client).Members, printStoreMembers))
	cmd.AddCommand(&cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a process, which may be down",
		Long: `Remove a process, which may be down.

Each group removes the process's replica. A majority of the present processes and a
majority of the remaining ones have to run. The process ends, and its data directory has
no further use.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return conn.use(cmd, seeMembers, func(ctx context.Context, client *httpkv.Client) error {
				return client.RemoveMember(ctx, args[0])
			})
		},
	})
	return cmd
}

func printStoreMembers(out io.Writer, all httpkv.Members) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tADDRESS\tROLE\tGROUPS")
	for _, m := range all.Members {
		role := "voter"
		if m.Learner {
			role = "learner"
		}
		in := "all"
		if len(m.Groups) <= all.Groups { // the controllers are one more
			in = strings.Join(m.Groups, ", ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.Name, m.ID, m.Address, role, in)
	}
	return w.Flush()
}
