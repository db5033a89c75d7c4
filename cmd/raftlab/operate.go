//go:build !wasip1

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"raftlab/internal/datadir"
	"raftlab/internal/etcdapi"
	"raftlab/internal/httpkv"
	"raftlab/internal/shardstore"
)

// operated returns the error of an operator's command with its exit code.
func operated(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, datadir.ErrDamaged), errors.Is(err, datadir.ErrManifest), errors.Is(err, etcdapi.ErrBackup), errors.Is(err, shardstore.ErrBackup):
		return &exitError{exitDamaged, err}
	}
	return &exitError{exitFailure, err}
}

// backupOptions are the flags of backup.
type backupOptions struct {
	data           []string
	endpoint, user string
	ca, cert, key  string
	force          bool
	timeout        time.Duration
}

func newBackupCommand() *cobra.Command {
	var o backupOptions
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the state of a cluster of processes to a file",
		Long: `Write the state of a cluster of processes to a file.

The command asks a running member at --endpoint for a consistent snapshot. With --data
the command reads the data directory of a member that does not run. The file has keys,
leases and users, and a checksum. etcdctl snapshot save makes the same file, a database of
etcd.

Of a store with groups the command asks any process. With --data the command reads the
directories of a majority, and no process runs on them. Each shard has all writes that
were acknowledged before the command began, and a transaction is in all its shards or in
none.

The file gets its name when it is whole, durable, and read again. An existing file is
replaced only with --force.`,
		Example: `  raftlab backup monday.backup --endpoint http://127.0.0.1:2379
  raftlab backup monday.backup --data n1.raftlab
  raftlab backup monday.backup --data n1.raftlab --data n2.raftlab`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(o.data) > 0 && cmd.Flags().Changed("endpoint") {
				return usageError("--data is for a member that does not run, and --endpoint for a running one; both are given")
			}
			ctx, stop := untilSignal(cmd.Context(), os.Interrupt)
			defer stop()
			report, err := o.run(ctx, args[0])
			if err != nil {
				return operated(err)
			}
			printBackup(cmd.OutOrStdout(), report)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.endpoint, "endpoint", "http://"+defaultMemberAddress, "client URL of a running member")
	f.StringArrayVar(&o.data, "data", nil, "data directory of a member that does not run; of a store with groups, give the flag for each of a majority")
	f.BoolVar(&o.force, "force", false, "replace an existing file")
	f.StringVar(&o.ca, "ca", "", "file of the authority that signs the certificates of members")
	f.StringVar(&o.cert, "cert", "", "file of a client's certificate")
	f.StringVar(&o.key, "key", "", "file of the certificate's key")
	f.StringVar(&o.user, "user", "", "NAME:PASSWORD of a user with the role root, if the cluster has users")
	f.DurationVar(&o.timeout, "timeout", time.Hour, "the longest time for the whole snapshot")
	return cmd
}

func printBackup(out io.Writer, r *datadir.BackupReport) {
	if r.Groups > 0 {
		fmt.Fprintf(out, "%s: %s, %s, %s, SHA-256 %s\n",
			r.File, count(int(r.Bytes), "byte"), count(r.Groups, "group"), count(r.Keys, "key"), r.SHA256)
		return
	}
	fmt.Fprintf(out, "%s: %s, revision %d, %s, %s, SHA-256 %s\n",
		r.File, count(int(r.Bytes), "byte"), r.Revision, count(r.Keys, "key"), count(r.Leases, "lease"), r.SHA256)
}

func (o *backupOptions) run(ctx context.Context, path string) (*datadir.BackupReport, error) {
	if len(o.data) > 0 {
		return datadir.Backup(o.data, path, o.force)
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return datadir.WriteBackup(path, o.force, func(w io.Writer) error {
		none, err := o.fetch(ctx, w)
		if client := o.httpClient(); none && client != nil {
			defer client.HTTP.CloseIdleConnections()
			if hasGroups(ctx, client) {
				return client.Backup(ctx, w)
			}
		}
		return err
	})
}

// httpClient returns a client of the interface /v1 at the endpoint, or nil.
func (o *backupOptions) httpClient() *httpkv.Client {
	config, err := o.tlsConfig()
	if err != nil {
		return nil
	}
	return &httpkv.Client{BaseURL: o.endpoint, HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: config}}}
}

// hasGroups reports whether a process is of a store with groups. Such a process has no
// interface of etcd.
func hasGroups(ctx context.Context, client *httpkv.Client) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := client.Layout(ctx)
	return err == nil
}

// fetch writes the snapshot of a running member of a store without groups. none says that
// the member has sent nothing.
func (o *backupOptions) fetch(ctx context.Context, w io.Writer) (none bool, err error) {
	conn, err := o.dial()
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if ctx, err = o.logIn(ctx, conn); err != nil {
		return true, fmt.Errorf("%s: %w", o.endpoint, err)
	}
	stream, err := pb.NewMaintenanceClient(conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		return true, fmt.Errorf("%s: %w", o.endpoint, err)
	}
	for none = true; ; none = false {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return none, nil
		}
		if err != nil {
			return none, fmt.Errorf("%s: %w", o.endpoint, err)
		}
		if _, err := w.Write(piece.Blob); err != nil {
			return none, err
		}
	}
}

// dial connects to the member.
func (o *backupOptions) dial() (*grpc.ClientConn, error) {
	u, err := url.Parse(o.endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usageError("--endpoint is %q; want http://host:port or https://host:port", o.endpoint)
	}
	secure := insecure.NewCredentials()
	if u.Scheme == "https" {
		config, err := o.tlsConfig()
		if err != nil {
			return nil, err
		}
		secure = credentials.NewTLS(config)
	}
	return grpc.NewClient(u.Host, grpc.WithTransportCredentials(secure))
}

// tlsConfig returns the settings for https.
func (o *backupOptions) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate in PEM", o.ca)
		}
	}
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// logIn adds the token of a user to the context.
func (o *backupOptions) logIn(ctx context.Context, conn *grpc.ClientConn) (context.Context, error) {
	if o.user == "" {
		return ctx, nil
	}
	name, password, _ := strings.Cut(o.user, ":")
	answer, err := pb.NewAuthClient(conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: password})
	if err != nil {
		return ctx, err
	}
	return metadata.AppendToOutgoingContext(ctx, "token", answer.Token), nil
}

func newRestoreCommand() *cobra.Command {
	var o datadir.RestoreOptions
	var data string
	cmd := &cobra.Command{
		Use:   "restore FILE --name NAME --cluster NAME=HOST:PORT,...",
		Short: "Make the data directory of a member of a new cluster from a backup",
		Long: `Make the data directory of a member of a new cluster from a backup.

Run the command once for each member of the new cluster, with the same file and the same
flags but --name and --data. Then start the members with raftlab serve, the same
--cluster and the same --cluster-name. The new cluster may have other members than the
old one, and any number of them.

The new cluster has an id of its own, and its members have new ids. Members of the old
cluster and of the new cluster refuse each other, whatever their names and addresses are.
--token keeps apart two new clusters from one backup with the same members.

The backup of a store with groups makes a store with groups. --groups gives the new store
another number of groups.

A backup is older than what clients have seen. --bump-revision raises the revision above
what they have seen, so that no revision has two contents. --mark-compacted compacts all
revisions of the backup, so that watches of the old cluster end with an error and their
clients read anew. Caches such as a Kubernetes API server need both.`,
		Example: `  raftlab restore monday.backup --name n1 --cluster n1=10.0.0.1:2380,n2=10.0.0.2:2380,n3=10.0.0.3:2380
  raftlab restore monday.backup --name n1 --cluster n1=127.0.0.1:2380 --bump-revision 1000000000 --mark-compacted`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkRestore(&o, cmd.Flags().Changed("groups")); err != nil {
				return err
			}
			if data == "" {
				data = o.Name + ".raftlab"
			}
			m, err := datadir.Restore(args[0], data, o)
			if err != nil {
				return operated(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: member %s (%s) of the new cluster %s (%s), restored from %s\n",
				data, m.Name, m.ID, m.Cluster, m.ClusterNumber, args[0])
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", "", "name of the member")
	f.StringToStringVar(&o.Members, "cluster", nil, "members of the new cluster: n1=host:port,n2=host:port")
	f.StringVar(&o.Cluster, "cluster-name", "raftlab", "name of the new cluster")
	f.StringVar(&data, "data", "", "data directory to make; it must be empty (default NAME.raftlab)")
	f.IntVar(&o.Groups, "groups", 0, "number of groups of the new store (default that of the backup)")
	f.StringVar(&o.Token, "token", "", "any text, the same for all members")
	f.Int64Var(&o.Advance, "bump-revision", 0, "how much to add to the revision")
	f.BoolVar(&o.Compact, "mark-compacted", false, "compact all revisions of the backup")
	f.SetNormalizeFunc(etcdName)
	return cmd
}

// checkRestore refuses flags of restore that do not go together. groups says that --groups
// is given.
func checkRestore(o *datadir.RestoreOptions, groups bool) error {
	switch {
	case o.Name == "" || len(o.Members) == 0:
		return usageError("restore needs --name, and --cluster with the members of the new cluster")
	case groups && (o.Groups < 1 || o.Groups > shardstore.MaxGroups):
		return usageError("--groups is %d; want 1 to %d", o.Groups, shardstore.MaxGroups)
	case o.Advance > 0 && !o.Compact:
		return usageError("--bump-revision needs --mark-compacted, so that watches notice the gap")
	case o.Compact && o.Advance == 0:
		return usageError("--mark-compacted needs --bump-revision")
	}
	return nil
}
