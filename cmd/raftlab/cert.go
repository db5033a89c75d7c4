//go:build !wasip1

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"raftlab/internal/pki"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
)

// The files of a test cluster's authority, in the directory of the certificates.
const (
	caCertName = "ca.pem"
	caKeyName  = "ca.key"
)

const day = 24 * time.Hour

// certificates are the flags of the subcommands of cert.
type certificates struct {
	dir  string
	days int
}

func newCertCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "Make an authority and certificates for a test cluster",
		Long: `Make an authority and certificates for a test cluster.

  raftlab cert ca
  raftlab cert member n1 n2 n3 --cluster orders --host 10.0.0.1 --host db.example
  raftlab cert client alice

The files are NAME.pem and NAME.key in the directory --dir. No file is replaced. A
member's certificate names the cluster by the URI raftlab://CLUSTER/*, and serves
other members and clients. For a program on the library the name may be a host's id,
such as 1. The URI then is raftlab://CLUSTER/1, and the certificate is good for this
host alone. A client's certificate names the user.

Who has ca.key can pose as any member. Keep the key away from the members. Service
in production has an authority of its own as a rule.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.AddCommand(newCertCACommand(), newCertMemberCommand(), newCertClientCommand())
	return cmd
}

func (c *certificates) addFlags(cmd *cobra.Command, days int) {
	cmd.Flags().StringVar(&c.dir, "dir", "certs", "directory of the certificates")
	cmd.Flags().IntVar(&c.days, "days", days, "days until the certificate expires")
}

// lifetime returns the lifetime of a certificate.
func (c *certificates) lifetime() (time.Duration, error) {
	const most = 36500
	if c.days < 1 || c.days > most {
		return 0, usageError("--days %d; want 1 to %d", c.days, most)
	}
	return time.Duration(c.days) * day, nil
}

func (c *certificates) path(name string) string { return filepath.Join(c.dir, name) }

// write makes the files of a certificate and prints the names of the files.
func (c *certificates) write(cmd *cobra.Command, name string, pair pki.Pair) error {
	if err := pair.Write(c.path(name+".pem"), c.path(name+".key")); err != nil {
		return &exitError{exitFailure, err}
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", c.path(name+".pem"), c.path(name+".key"))
	return err
}

// issue makes a certificate of the directory's authority.
func (c *certificates) issue(cmd *cobra.Command, file string, r pki.Request) error {
	var err error
	if r.Lifetime, err = c.lifetime(); err != nil {
		return err
	}
	ca, err := pki.LoadAuthority(c.path(caCertName), c.path(caKeyName))
	if os.IsNotExist(err) {
		return &exitError{exitFailure, fmt.Errorf("%w; raftlab cert ca --dir %s makes an authority", err, c.dir)}
	}
	if err != nil {
		return &exitError{exitFailure, err}
	}
	if time.Now().After(ca.Expires()) {
		return &exitError{exitFailure, fmt.Errorf("the authority in %s expired at %s", c.path(caCertName), ca.Expires().Format(time.DateTime))}
	}
	pair, err := ca.Issue(r)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return c.write(cmd, file, pair)
}

func newCertCACommand() *cobra.Command {
	var c certificates
	var name string
	cmd := &cobra.Command{
		Use:               "ca",
		Short:             "Make an authority",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lifetime, err := c.lifetime()
			if err != nil {
				return err
			}
			ca, err := pki.NewAuthority(name, lifetime)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if err := os.MkdirAll(c.dir, 0o755); err != nil {
				return &exitError{exitFailure, err}
			}
			return c.write(cmd, "ca", ca.Pair)
		},
	}
	c.addFlags(cmd, 3650)
	cmd.Flags().StringVar(&name, "name", "raftlab test authority", "name of the authority")
	return cmd
}

func newCertMemberCommand() *cobra.Command {
	var c certificates
	var cluster string
	var hosts []string
	cmd := &cobra.Command{
		Use:               "member NAME... --cluster CLUSTER",
		Short:             "Make the certificates of members, member-NAME.pem and member-NAME.key",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cluster == "" {
				return usageError("cert member needs --cluster, the cluster's name")
			}
			for _, name := range args {
				if err := checkFileName("member", name); err != nil {
					return err
				}
			}
			for _, name := range args {
				uri := tcp.ClusterURI(cluster)
				if id, err := strconv.ParseUint(name, 10, 64); err == nil && id > 0 {
					uri = tcp.HostURI(node.Identity{Cluster: cluster, Host: core.NodeID(id)})
				}
				if err := c.issue(cmd, "member-"+name, pki.Request{Name: name, Hosts: hosts, URI: uri}); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.addFlags(cmd, 365)
	cmd.Flags().StringVar(&cluster, "cluster", "", "name of the cluster")
	cmd.Flags().StringArrayVar(&hosts, "host", []string{"localhost", "127.0.0.1", "::1"}, "DNS name or IP address of the members; repeat the flag for more")
	return cmd
}

func newCertClientCommand() *cobra.Command {
	var c certificates
	cmd := &cobra.Command{
		Use:               "client USER",
		Short:             "Make the certificate of a client, client-USER.pem and client-USER.key",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFileName("user", args[0]); err != nil {
				return err
			}
			return c.issue(cmd, "client-"+args[0], pki.Request{Name: args[0]})
		},
	}
	c.addFlags(cmd, 365)
	return cmd
}

// checkFileName refuses a name that cannot be a part of a file's name.
func checkFileName(what, name string) error {
	if name == "" || name != filepath.Base(name) {
		return usageError("the %s %q is not a name for a file", what, name)
	}
	return nil
}
