//go:build !wasip1

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// connection has the flags of every command with a server.
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
	f.DurationVar(&c.timeout, "timeout", 10*time.Second, "how long to try while there is no answer, or no leader")
}

// client returns a client, and a context for one use.
func (c *connection) client(ctx context.Context) (*httpkv.Client, context.Context, context.CancelFunc, error) {
	base := c.server
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, nil, nil, usageError("--server is %q; want a URL like http://%s", c.server, defaultAddress)
	}
	if c.timeout <= 0 {
		return nil, nil, nil, usageError("--timeout is %v; want more than 0", c.timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	return &httpkv.Client{BaseURL: strings.TrimSuffix(base, "/")}, ctx, cancel, nil
}

// coded gives an error of the client its exit code. advice is the next action of a
// user whose change has an open outcome.
func (c *connection) coded(err error, tried time.Duration, advice string) error {
	var refused *httpkv.Error
	var open *httpkv.OpenError
	var has *exitError
	switch {
	case err == nil, errors.As(err, &has):
		return err
	case errors.As(err, &open):
		if open.IdempotencyKey != "" {
			advice = "repeat the command with --idempotency-key " + open.IdempotencyKey + ", and the change is made once"
		}
		err = fmt.Errorf("%w\nThe change may have been made, or may be made yet: %s", err, advice)
	}
	switch {
	case errors.Is(err, httpkv.ErrUnavailable):
		return &exitError{exitUnavailable, fmt.Errorf("%s, tried for %v: %w", c.server, tried.Round(time.Millisecond), err)}
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

// use runs do with a client until SIGINT, and adds the exit code to an error of do.
func (c *connection) use(cmd *cobra.Command, advice string, do func(context.Context, *httpkv.Client) error) error {
	ctx, stop := untilSignal(cmd.Context(), os.Interrupt)
	defer stop()
	client, limited, cancel, err := c.client(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	start := time.Now()
	err = do(limited, client)
	return orInterrupted(ctx, c.coded(err, time.Since(start), advice))
}

// Advice after a change with an open outcome.
const (
	seeStatus = "raftlab status shows the replicas"
	seeShards = "raftlab shards shows the layout"
	nothing   = "" // a read has no open outcome
)

func newReplicaCommand() *cobra.Command {
	var conn connection
	cmd := &cobra.Command{
		Use:   "replica",
		Short: "Stop, start, disconnect, connect, repair, recover and compact replicas",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError("replica needs a command: stop N, start N, disconnect N, connect N, repair N, compact N or recover N")
		},
	}
	conn.addFlags(cmd)
	for _, verb := range []string{"stop", "start", "disconnect", "connect"} {
		cmd.AddCommand(&cobra.Command{
			Use:   verb + " N",
			Short: strings.ToUpper(verb[:1]) + verb[1:] + " replica N (from 1)",
			Args:  cobra.ExactArgs(1),

			ValidArgsFunction: conn.replicas(verb),
			RunE: func(cmd *cobra.Command, args []string) error {
				number, err := strconv.Atoi(args[0])
				if err != nil {
					return usageError("%q is not a replica's number", args[0])
				}
				return conn.use(cmd, seeStatus, func(ctx context.Context, client *httpkv.Client) error {
					return client.ChangeReplica(ctx, number, verb)
				})
			},
		})
	}
	cmd.AddCommand(newMaintenanceCommands(&conn)...)
	return cmd
}

func newStatusCommand() *cobra.Command {
	var conn connection
	cmd := newShowCommand(&conn, "status", "Show what the replicas of a running server are doing", (*httpkv.Client).Status, printStatus)
	conn.addFlags(cmd)
	return cmd
}

// showOptions are the flags of status and shards.
type showOptions struct {
	asJSON, watch bool
	every         time.Duration
}

// minEvery bounds the load of --watch on the server.
const minEvery = 100 * time.Millisecond

// newShowCommand makes a command to ask the server and to show the answer, as a table
// or as JSON.
func newShowCommand[T any](conn *connection, use, short string, ask func(*httpkv.Client, context.Context) (T, error), show func(io.Writer, T) error) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:               use,
		Short:             short,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			print := func(out io.Writer) error {
				return conn.use(cmd, nothing, func(ctx context.Context, client *httpkv.Client) error {
					answer, err := ask(client, ctx)
					switch {
					case err != nil:
						return err
					case o.asJSON:
						enc := json.NewEncoder(out)
						enc.SetIndent("", "  ")
						return enc.Encode(answer)
					}
					return show(out, answer)
				})
			}
			if !o.watch {
				return print(cmd.OutOrStdout())
			}
			if o.every < minEvery {
				return usageError("--every is %v; want at least %v", o.every, minEvery)
			}
			return o.repeat(cmd, print)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.asJSON, "json", false, "print the server's answer, as JSON")
	f.BoolVar(&o.watch, "watch", false, "print the answer again and again, until Ctrl-C")
	f.DurationVar(&o.every, "every", time.Second, "the time between two answers of --watch")
	return cmd
}

// clearScreen puts the cursor of a terminal in the corner of an empty screen.
const clearScreen = "\x1b[H\x1b[2J"

// repeat prints until SIGINT. A silent server may come back, so repeat prints the error
// and goes on.
func (o showOptions) repeat(cmd *cobra.Command, print func(io.Writer) error) error {
	ctx, stop := untilSignal(cmd.Context(), os.Interrupt)
	defer stop()
	cmd.SetContext(ctx)
	out := cmd.OutOrStdout()
	for {
		var page bytes.Buffer
		var coded *exitError
		switch err := print(&page); {
		case ctx.Err() != nil:
			return orInterrupted(ctx, &exitError{code: exitFailure})
		case errors.As(err, &coded) && coded.code == exitUnavailable:
			fmt.Fprintf(&page, "raftlab: %v\n", err)
		case err != nil:
			return err
		}
		if isTerminal(out) {
			page.WriteString("\n" + time.Now().Format(time.TimeOnly) + "\n")
			_, _ = io.WriteString(out, clearScreen)
		} else if !o.asJSON {
			page.WriteString("\n")
		}
		if _, err := out.Write(page.Bytes()); err != nil {
			return &exitError{exitFailure, err}
		}
		select {
		case <-time.After(o.every):
		case <-ctx.Done():
		}
	}
}

func printStatus(out io.Writer, s httpkv.ClusterStatus) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	grouped := len(s.Replicas) > 0 && s.Replicas[0].Group != ""
	named := len(s.Replicas) > 0 && s.Replicas[0].Name != ""
	name := func(r httpkv.ReplicaStatus) string {
		switch {
		case named && grouped:
			return fmt.Sprintf("%d\t%s\t%s", r.Number, r.Group, r.Name)
		case grouped:
			return fmt.Sprintf("%d\t%s", r.Number, r.Group)
		}
		return cmp.Or(r.Name, strconv.Itoa(r.Number))
	}
	head := "REPLICA"
	if grouped {
		head += "\tGROUP"
		if named {
			head += "\tMEMBER"
		}
	}
	fmt.Fprintln(w, head+"\tSTATE\tROLE\tTERM\tCOMMIT\tAPPLIED\tLAST\tSNAPSHOT\tLOG BYTES\tKEYS")
	for _, r := range s.Replicas {
		if r.State == "stopped" || r.State == "unreachable" {
			// A row of fewer cells would end the columns for the rows below.
			fmt.Fprintf(w, "%s\t%s%s\n", name(r), r.State, strings.Repeat("\t-", 8))
			continue
		}
		state := r.State
		if r.Disconnected {
			state = "disconnected"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", name(r), state, r.Role, r.Term,
			r.CommitIndex, r.AppliedIndex, r.LastIndex, r.SnapshotIndex, r.LogBytes, r.Keys)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range s.Replicas {
		if r.Error != "" {
			fmt.Fprintf(out, "replica %d: %s\n", r.Number, r.Error)
		}
	}
	return nil
}
