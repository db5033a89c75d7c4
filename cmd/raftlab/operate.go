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
)

// operated returns the error of an operator's command with its exit code.
func operated(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, datadir.ErrDamaged), errors.Is(err, datadir.ErrManifest), errors.Is(err, etcdapi.ErrBackup):
		return &exitError{exitDamaged, err}
	}
	return &exitError{exitFailure, err}
}

// backupOptions are the flags of backup.
type backupOptions struct {
	data, endpoint, user string
	ca, cert, key        string
	force                bool
	timeout              time.Duration
}

func newBackupCommand() *cobra.Command {
	var o backupOptions
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the state of a cluster of processes to a file",
		Long: `Write the state of a cluster of processes to a file.

The command asks a running member at --endpoint for a consistent snapshot. With --data
the command reads the data directory of a member that does not run. The file has keys,
leases and users, and a checksum. etcdctl snapshot save makes the same file.

The file gets its name when it is whole, durable, and read again. An existing file is
replaced only with --force.`,
		Example: `  raftlab backup monday.backup --endpoint http://127.0.0.1:2379
  raftlab backup monday.backup --data n1.raftlab`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.data != "" && cmd.Flags().Changed("endpoint") {
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
	f.StringVar(&o.data, "data", "", "data directory of a member that does not run")
	f.BoolVar(&o.force, "force", false, "replace an existing file")
	f.StringVar(&o.ca, "ca", "", "file of the authority that signs the certificates of members")
	f.StringVar(&o.cert, "cert", "", "file of a client's certificate")
	f.StringVar(&o.key, "key", "", "file of the certificate's key")
	f.StringVar(&o.user, "user", "", "NAME:PASSWORD of a user with the role root, if the cluster has users")
	f.DurationVar(&o.timeout, "timeout", time.Hour, "the longest time for the whole snapshot")
	return cmd
}

func printBackup(out io.Writer, r *datadir.BackupReport) {
	fmt.Fprintf(out, "%s: %s, revision %d, %s, %s, SHA-256 %s\n",
		r.File, count(int(r.Bytes), "byte"), r.Revision, count(r.Keys, "key"), count(r.Leases, "lease"), r.SHA256)
}

func (o *backupOptions) run(ctx context.Context, path string) (*datadir.BackupReport, error) {
	if o.data != "" {
		return datadir.Backup(o.data, path, o.force)
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	r, err := datadir.WriteBackup(path, o.force, func(w io.Writer) error { return o.fetch(ctx, w) })
	if err != nil && o.hasGroups(ctx) {
		err = fmt.Errorf("%s: %w: backup does not work on a store with groups: %s", o.endpoint, datadir.ErrGroups, datadir.CopyAdvice)
	}
	return r, err
}

// hasGroups reports whether the process at the endpoint is of a store with groups. Such a
// process has no interface of etcd.
func (o *backupOptions) hasGroups(ctx context.Context) bool {
	config, err := o.tlsConfig()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := &httpkv.Client{BaseURL: o.endpoint, HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: config}}}
	defer client.HTTP.CloseIdleConnections()
	_, err = client.Layout(ctx)
	return err == nil
}

// fetch writes the snapshot of a running member.
func (o *backupOptions) fetch(ctx context.Context, w io.Writer) error {
	conn, err := o.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if ctx, err = o.logIn(ctx, conn); err != nil {
		return fmt.Errorf("%s: %w", o.endpoint, err)
	}
	stream, err := pb.NewMaintenanceClient(conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		return fmt.Errorf("%s: %w", o.endpoint, err)
	}
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", o.endpoint, err)
		}
		if _, err := w.Write(piece.Blob); err != nil {
			return err
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

A backup is older than what clients have seen. --bump-revision raises the revision above
what they have seen, so that no revision has two contents. --mark-compacted compacts all
revisions of the backup, so that watches of the old cluster end with an error and their
clients read anew. Caches such as a Kubernetes API server need both.`,
		Example: `  raftlab restore monday.backup --name n1 --cluster n1=10.0.0.1:2380,n2=10.0.0.2:2380,n3=10.0.0.3:2380
  raftlab restore monday.backup --name n1 --cluster n1=127.0.0.1:2380 --bump-revision 1000000000 --mark-compacted`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.Name == "" || len(o.Members) == 0:
				return usageError("restore needs --name, and --cluster with the members of the new cluster")
			case o.Advance > 0 && !o.Compact:
				return usageError("--bump-revision needs --mark-compacted, so that watches notice the gap")
			case o.Compact && o.Advance == 0:
				return usageError("--mark-compacted needs --bump-revision")
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
	f.StringVar(&o.Token, "token", "", "any text, the same for all members")
	f.Int64Var(&o.Advance, "bump-revision", 0, "how much to add to the revision")
	f.BoolVar(&o.Compact, "mark-compacted", false, "compact all revisions of the backup")
	f.SetNormalizeFunc(etcdName)
	return cmd
}
