//go:build !wasip1

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"raftlab/internal/clientport"
	"raftlab/internal/cluster"
	"raftlab/internal/console"
	"raftlab/internal/etcdapi"
	"raftlab/internal/httpkv/handler"
	"raftlab/internal/member"
)

const defaultAddress = "127.0.0.1:8400"

// Limits of a client's time.
const (
	headerTimeout = 5 * time.Second
	bodyTimeout   = 30 * time.Second
	answerTimeout = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10 // a key of 1 KiB, percent-encoded, has 3
	// shutdownTimeout bounds the wait for requests under way, beside their wait for a
	// leader.
	shutdownTimeout = 10 * time.Second
)

// serveOptions are the flags of serve.
type serveOptions struct {
	data, listen     string
	replicas, groups int
	snapshotBytes    int
	patience         time.Duration
	log              logOptions
	allowHosts       []string
	inFlightBytes    int
	inFlight         int
	config           string
	forceNew         bool
	member           member.Options
}

func newServeCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a replicated key/value store in this process, and serve it over HTTP",
		Long: `Run a replicated key/value store in this process, and serve it over HTTP.

Each replica has a data file of its own under --data, and every write is on a
majority of them, fsynced, before it is acknowledged. SIGINT and SIGTERM
end it in order; nothing that was acknowledged is lost however it ends.`,
		Example: `  raftlab serve
  raftlab serve --groups 3
  raftlab serve --replicas 5 --data /var/lib/raftlab --listen 127.0.0.1:0`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if err := applySettings(cmd.Flags(), o.config, os.Environ()); err != nil {
				return &exitError{exitUsage, err}
			}
			if o.member.Name != "" {
				return o.serveMember(ctx, cmd.Flags(), cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			if err := o.validate(cmd.Flags().Changed); err != nil {
				return err
			}
			return serve(ctx, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "raftlab-data", "directory of the data files; made if it is not there")
	f.StringVar(&o.listen, "listen", defaultAddress, "address to serve HTTP on; port 0: any free one")
	f.IntVar(&o.replicas, "replicas", 0, fmt.Sprintf("number of replicas, 1 to %d; the data directory remembers it (default %d)", cluster.MaxReplicas, cluster.DefaultReplicas))
	f.IntVar(&o.groups, "groups", 0, fmt.Sprintf("spread the keys over 1 to %d groups of replicas, with a controller, in one process or with --name in several; the data directory remembers it (default: one store, no groups)", cluster.MaxGroups))
	f.IntVar(&o.snapshotBytes, "snapshot-bytes", cluster.DefaultSnapshotBytes, "size of a replica's log, in bytes, from which on it is replaced by a snapshot")
	f.DurationVar(&o.patience, "patience", handler.DefaultPatience, "how long a request waits for a leader before it is answered with 503")
	f.IntVar(&o.inFlightBytes, "in-flight-bytes", handler.DefaultMaxInFlightBytes, "memory for the values of requests that are being answered, in bytes; further requests wait for --patience and then get 503")
	f.IntVar(&o.inFlight, "in-flight", handler.DefaultMaxInFlight, "number of requests that are being answered; as many may wait")
	f.StringArrayVar(&o.allowHosts, "allow-host", nil, "a name of this server in URLs, beside localhost and its addresses (repeat for more; * allows all)")
	o.log.add(f)
	f.StringVar(&o.config, "config", "", "YAML file with values for flags that are not on the command line")
	addMemberFlags(f, &o.member)
	f.BoolVar(&o.forceNew, "force-new-cluster", false, "make this member the only one of a new cluster, as raftlab recover does, unless the member is the only one already")
	f.SetNormalizeFunc(etcdName)
	return cmd
}

// hosts returns the names of the server in Host headers.
func (o serveOptions) hosts() []string {
	hosts := slices.Clone(o.allowHosts)
	if host, _, err := net.SplitHostPort(o.listen); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	return hosts
}

// validate checks the flags. Numbers without a flag are 0.
func (o serveOptions) validate(given func(flag string) bool) error {
	switch {
	case given("replicas") && (o.replicas < 1 || o.replicas > cluster.MaxReplicas):
		return usageError("--replicas is %d; want 1 to %d", o.replicas, cluster.MaxReplicas)
	case given("groups") && (o.groups < 1 || o.groups > cluster.MaxGroups):
		return usageError("--groups is %d; want 1 to %d", o.groups, cluster.MaxGroups)
	case o.snapshotBytes < 1:
		return usageError("--snapshot-bytes is %d; want at least 1", o.snapshotBytes)
	case o.inFlightBytes < 1:
		return usageError("--in-flight-bytes is %d; want at least 1", o.inFlightBytes)
	case o.inFlight < 1:
		return usageError("--in-flight is %d; want at least 1", o.inFlight)
	case o.patience <= 0:
		return usageError("--patience is %v; want more than 0", o.patience)
	case slices.ContainsFunc(o.allowHosts, func(name string) bool { return strings.Trim(name, " ") == "" || strings.ContainsAny(name, "/,") }):
		return usageError("--allow-host is %q; want one name, such as store.example", o.allowHosts)
	case o.data == "":
		return usageError("--data is empty")
	}
	return nil
}

// serve serves until ctx ends.
func serve(ctx context.Context, o serveOptions, out, logs io.Writer) error {
	log, err := o.log.logger(logs)
	if err != nil {
		return err
	}
	// The address comes first. If another server on the same data holds the address,
	// the error names the address.
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return &exitError{exitFailure, fmt.Errorf("cannot serve on %s: %w (choose another with --listen)", o.listen, err)}
	}
	defer listener.Close()
	c, err := cluster.OpenAny(o.data, cluster.Options{
		Replicas: o.replicas, Groups: o.groups, SnapshotBytes: o.snapshotBytes, Logger: log,
		Quota: o.member.Quota, ClientURL: "http://" + listener.Addr().String(),
	})
	if err != nil {
		return &exitError{exitFailure, err}
	}
	fmt.Fprintf(out, "raftlab: %s on http://%s, data in %s\n", inWords(c), listener.Addr(), o.data)
	answers := handler.New(c, handler.Options{
		Patience:         o.patience,
		MaxInFlightBytes: o.inFlightBytes,
		MaxInFlight:      o.inFlight,
		Hosts:            o.hosts(),
		Administrator:    administrator(c),
		Logger:           log,
	})
	if store, ok := c.(*cluster.Cluster); ok {
		err = o.servePort(ctx, listener, store, answers, log)
	} else {
		err = serveHTTP(ctx, listener, answers, o.patience, log)
	}
	err = errors.Join(err, c.Close())
	if err != nil {
		return &exitError{exitFailure, err}
	}
	log.Info("stopped")
	return nil
}

// administrator returns the check of a sender who stops replicas and the like. Groups have
// no users. Nobody can check a sender while no replica runs.
func administrator(c any) func(*http.Request) error {
	return func(r *http.Request) error {
		store, ok := c.(*cluster.Cluster)
		if !ok {
			return nil
		}
		if s := store.Serving(); s != nil {
			return s.Administers(r.Context(), r.Header.Get("Authorization"))
		}
		return nil
	}
}

// servePort serves etcd's API and the interface /v1 until ctx ends, and then answers the
// requests under way.
func (o serveOptions) servePort(ctx context.Context, listener net.Listener, c *cluster.Cluster, v1 http.Handler, log *slog.Logger) error {
	router := &etcdapi.Router{Pick: c.Serving}
	metrics := clientport.NewMetrics(c.Sources()...)
	g := grpc.NewServer(append(router.Options(), metrics.Calls())...)
	router.Register(g)
	page := console.New(console.Options{
		Title:  fmt.Sprintf("%s in one process, data in %s", count(len(c.Status()), "replica"), o.data),
		Status: c.Status, Serving: c.Serving, Sources: c.Sources(), Admin: true,
		Hosts: o.hosts(), Next: v1, Logger: log,
	})
	port, err := clientport.New(clientport.Options{
		Listener: listener, GRPC: g, Logger: log,
		Pages: clientport.Pages{
			Health: c.Health, Live: c.Live, Checks: etcdapi.Checks(), Check: c.Check,
			Metrics: metrics, Hosts: o.hosts(), Others: page,
		},
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- port.Serve() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		log.Info("stopping")
	}
	c.Drain()
	timeout, cancel := context.WithTimeout(context.Background(), o.patience+shutdownTimeout)
	defer cancel()
	return errors.Join(err, port.Close(timeout))
}

// inWords describes the store for the greeting.
func inWords(c cluster.Store) string {
	n := len(c.Status())
	s, ok := c.(*cluster.Sharded)
	switch {
	case ok:
		perGroup := n / (s.Groups() + 1)
		return fmt.Sprintf("%s of %s, and as many controllers, serve", count(s.Groups(), "group"), count(perGroup, "replica"))
	case n == 1:
		return "1 replica serves"
	}
	return count(n, "replica") + " serve"
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// serveHTTP serves until ctx ends, and then answers the requests under way.
func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler, patience time.Duration, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      bodyTimeout + patience + answerTimeout, // it counts from the header on
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          newErrorLog(log),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	log.Info("stopping")
	timeout, cancel := context.WithTimeout(context.Background(), patience+shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(timeout); err != nil {
		log.Warn("requests were cut off", "error", err)
		return server.Close()
	}
	return nil
}
