//go:build !wasip1

package main

import (
	"context"
	"log/slog"
	"strconv"

	"github.com/spf13/cobra"

	"raftlab/internal/cluster"
	"raftlab/internal/httpkv"
)

// maintenance is work on a replica's data file.
type maintenance struct {
	verb, short, long string
	offline           func(cluster.Store, int) error
}

func newMaintenanceCommands(conn *connection) []*cobra.Command {
	return []*cobra.Command{
		newMaintenanceCommand(conn, maintenance{
			verb:  "repair",
			short: "Rebuild the data file of replica N from the other replicas",
			long: `Rebuild the data file of replica N from the other replicas.

The file may be damaged, lost, the file of another replica, or an older copy. A
majority of the other replicas must be intact. The former file stays beside the
new one, with the suffix .old.`,
			offline: cluster.Store.Repair,
		}),
		newMaintenanceCommand(conn, maintenance{
			verb:  "compact",
			short: "Give the free space in the data file of replica N back",
			long: `Give the free space in the data file of replica N back.

The replica may run, and serves meanwhile. The disk needs room for the content of
the file once more.`,
			offline: cluster.Store.Compact,
		}),
		newRecoverCommand(),
	}
}

// newRecoverCommand makes the last resort of a group without a majority.
func newRecoverCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "recover N --data DIR",
		Short: "Make the data file of replica N the truth of its group, without a majority",
		Long: `Make the data file of replica N the truth of its group.

The files of all replicas of the group become copies. Writes on the other files
alone are lost, also acknowledged ones. The command is the last resort for a
group without a majority of usable files, and is refused otherwise. No server may
use the directory. The former files stay, with the suffix .old.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, args []string) error {
			number, err := strconv.Atoi(args[0])
			switch {
			case err != nil:
				return usageError("%q is not a replica's number", args[0])
			case data == "":
				return usageError("recover needs --data, the directory of the data files")
			}
			if err := cluster.Recover(data, number, cluster.Options{}); err != nil {
				return &exitError{exitFailure, err}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "directory of the data files")
	return cmd
}

func newMaintenanceCommand(conn *connection, m maintenance) *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   m.verb + " N",
		Short: m.short,
		Long:  m.long + "\n\nThe command asks the running server. Without one, --data names the data directory.",
		Args:  cobra.ExactArgs(1),

		ValidArgsFunction: conn.replicas(m.verb),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.Atoi(args[0])
			if err != nil {
				return usageError("%q is not a replica's number", args[0])
			}
			if data != "" {
				log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
				err := cluster.Maintain(data, cluster.Options{Logger: log}, func(s cluster.Store) error { return m.offline(s, number) })
				if err != nil {
					return &exitError{exitFailure, err}
				}
				return nil
			}
			return conn.use(cmd, seeStatus, func(ctx context.Context, client *httpkv.Client) error {
				return client.ChangeReplica(ctx, number, m.verb)
			})
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "directory of the data files, while no server uses it")
	return cmd
}
