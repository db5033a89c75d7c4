//go:build !wasip1

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"raftlab/internal/httpkv"
)

// serverVariable names the server in place of --server.
const serverVariable = "RAFTLAB_SERVER"

// connection is the flags of all commands that talk to a server.
type connection struct {
	server  string
	timeout time.Duration
}

func (c *connection) addFlags(cmd *cobra.Command) {
	server := os.Getenv(serverVariable)
	if server == "" {
		server = "http://" + defaultAddress
	}
	f := cmd.PersistentFlags()
	f.StringVar(&c.server, "server", server, "the server's URL (also: "+serverVariable+")")
	f.DurationVar(&c.timeout, "timeout", 10*time.Second, "how long to try when there is no answer, or no leader")
}

// client returns a client, and a context for one use of it.
func (c *connection) client(ctx context.Context) (*httpkv.Client, context.Context, context.CancelFunc, error) {
	base := c.server
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, nil, usageError("--server is %q; want a URL like http://%s", c.server, defaultAddress)
	}
	if c.timeout <= 0 {
		return nil, nil, nil, usageError("--timeout is %v; want more than 0", c.timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	return &httpkv.Client{BaseURL: strings.TrimSuffix(base, "/")}, ctx, cancel, nil
}

// coded gives an error from the server its exit code.
func (c *connection) coded(err error) error {
	var refused *httpkv.Error
	var has *exitError
	switch {
	case err == nil, errors.As(err, &has):
		return err
	case errors.Is(err, httpkv.ErrUnavailable):
		return &exitError{exitUnavailable, fmt.Errorf("%s, tried for %v: %w", c.server, c.timeout, err)}
	case !errors.As(err, &refused):
		return &exitError{exitFailure, err}
	}
	code := exitRefused
	switch refused.Code {
	case httpkv.NotFound:
		code = exitNotFound
	case httpkv.VersionMismatch:
		code = exitMismatch
	case httpkv.Internal:
		code = exitFailure
	}
	return &exitError{code, refused}
}

// use runs do with a client, and gives its error an exit code.
func (c *connection) use(cmd *cobra.Command, do func(context.Context, *httpkv.Client) error) error {
	client, ctx, cancel, err := c.client(cmd.Context())
	if err != nil {
		return err
	}
	defer cancel()
	return c.coded(do(ctx, client))
}

func newReplicaCommand() *cobra.Command {
	var conn connection
	cmd := &cobra.Command{
		Use:   "replica",
		Short: "Stop and start replicas of a running server",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return usageError("replica what? stop N or start N") },
	}
	conn.addFlags(cmd)
	for _, verb := range []string{"stop", "start"} {
		cmd.AddCommand(&cobra.Command{
			Use:   verb + " N",
			Short: strings.ToUpper(verb[:1]) + verb[1:] + " replica N (from 1)",
			Args:  cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				number, err := strconv.Atoi(args[0])
				if err != nil {
					return usageError("%q is not a replica's number", args[0])
				}
				return conn.use(cmd, func(ctx context.Context, client *httpkv.Client) error {
					return client.ChangeReplica(ctx, number, verb)
				})
			},
		})
	}
	return cmd
}

func newStatusCommand() *cobra.Command {
	var conn connection
	cmd := newShowCommand(&conn, "status", "Show what the replicas of a running server are doing", (*httpkv.Client).Status, printStatus)
	conn.addFlags(cmd)
	return cmd
}

// newShowCommand makes a command that asks the server for something and shows
// it, for people or as JSON.
func newShowCommand[T any](conn *connection, use, short string, ask func(*httpkv.Client, context.Context) (T, error), show func(*cobra.Command, T) error) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return conn.use(cmd, func(ctx context.Context, client *httpkv.Client) error {
				answer, err := ask(client, ctx)
				switch {
				case err != nil:
					return err
				case asJSON:
					enc := json.NewEncoder(cmd.OutOrStdout())
					enc.SetIndent("", "  ")
					return enc.Encode(answer)
				}
				return show(cmd, answer)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the server's answer, as JSON")
	return cmd
}

func printStatus(cmd *cobra.Command, s httpkv.ClusterStatus) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	grouped := len(s.Replicas) > 0 && s.Replicas[0].Group != ""
	name := func(r httpkv.ReplicaStatus) string {
		if grouped {
			return fmt.Sprintf("%d\t%s", r.Number, r.Group)
		}
		return strconv.Itoa(r.Number)
	}
	head := "REPLICA"
	if grouped {
		head += "\tGROUP"
	}
	fmt.Fprintln(w, head+"\tSTATE\tROLE\tTERM\tCOMMIT\tAPPLIED\tLAST\tSNAPSHOT\tLOG BYTES\tKEYS")
	for _, r := range s.Replicas {
		if r.State == "stopped" {
			// A row of fewer cells would end the columns for the rows below it.
			fmt.Fprintf(w, "%s\t%s%s\n", name(r), r.State, strings.Repeat("\t-", 8))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", name(r), r.State, r.Role, r.Term,
			r.CommitIndex, r.AppliedIndex, r.LastIndex, r.SnapshotIndex, r.LogBytes, r.Keys)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range s.Replicas {
		if r.Error != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "replica %d: %s\n", r.Number, r.Error)
		}
	}
	return nil
}
