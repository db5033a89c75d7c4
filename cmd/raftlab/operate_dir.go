//go:build !wasip1

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"raftlab/internal/datadir"
	"raftlab/mvcc"
)

func newRecoverMemberCommand() *cobra.Command {
	var data []string
	var yes, compact bool
	var advance int64
	cmd := &cobra.Command{
		Use:   "recover --data DIR",
		Short: "Make a cluster of one member from the data of a survivor, without a majority",
		Long: `Make a cluster of one member from the data of a survivor, without a majority.

The command is the last resort for a cluster of processes whose majority is lost for
good. It reads the directory of one member that does not run, and makes that member the
only one of a new cluster. The command says first what it does and what may be lost, and
asks.

Of a store with groups the command reads the directories of all survivors, less than a
majority, and makes the first one that of the only process of a new store. raftlab backup
and raftlab restore then make a store of more processes.

The new cluster has an id of its own. The members of the old cluster do not reach it. Do
not start them again: a majority of them would go on as the old cluster, beside the new
one. Empty their directories. Without groups, add them with raftlab serve --join.

The former log and manifest stay in the directory.`,
		Example:           "  raftlab recover --data n1.raftlab\n  raftlab recover --data n1.raftlab --data n2.raftlab",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			switch {
			case len(data) == 0:
				return usageError("recover needs --data, the data directory of the survivor")
			case (advance > 0) != compact:
				return usageError("--bump-revision and --mark-compacted need each other, so that watches notice the gap")
			}
			plan, err := datadir.PlanRecovery(data)
			if err != nil {
				return operated(err)
			}
			defer func() { err = errors.Join(err, plan.Close()) }()
			out := cmd.OutOrStdout()
			printRecovery(out, plan)
			if !yes && !agreed(cmd.InOrStdin(), out, plan.After.Name) {
				return &exitError{exitRefused, errors.New("not agreed: nothing has changed")}
			}
			if err := plan.Run(advance, compact); err != nil {
				return operated(err)
			}
			fmt.Fprintf(out, "%s: member %s (%s) is the only one of cluster %s (%s)\n",
				data[0], plan.After.Name, plan.After.ID, plan.After.Cluster, plan.After.ClusterNumber)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&data, "data", nil, "data directory of the survivor; of a store with groups, give the flag for each survivor")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.Int64Var(&advance, "bump-revision", 0, "how much to add to the revision, above what clients have seen of lost writes")
	f.BoolVar(&compact, "mark-compacted", false, "compact all revisions up to there")
	return cmd
}

// printRecovery says what a recovery does and may lose.
func printRecovery(out io.Writer, p *datadir.Recovery) {
	if p.Groups != nil {
		printGroupsRecovery(out, p)
		return
	}
	b := p.Before
	fmt.Fprintf(out, "%s: member %s (%s) of cluster %s (%s), with %s:\n", b.Directory, b.Name, b.ID, b.Cluster, b.ClusterID, count(len(b.Log.Members), "member"))
	for _, m := range b.Log.Members {
		fmt.Fprintf(out, "  %s\n", memberText(m))
	}
	fmt.Fprintf(out, `The log ends at index %d of term %d. The store then has revision %d and %s.

The recovery makes this member the only one of a new cluster.
- Writes that this member does not have are lost, also acknowledged ones.
- Writes that no majority had, and whose clients got an error, may take effect.
- Alarms end. Keys, leases and users stay.
- The other members must never start again on their data. A majority of them would
  serve the old state beside the new cluster. Empty their directories, and add them
  with raftlab serve --join.
- The former log stays in %s, and the former manifest in %s.
`, b.Log.LastIndex, b.Log.LastTerm, b.Store.Revision, count(b.Store.Keys, "key"), b.Log.Directory, p.Kept)
}

// agreed asks for the member's name.
func agreed(in io.Reader, out io.Writer, name string) bool {
	fmt.Fprintf(out, "\nType the member's name (%s) to go on: ", name)
	line, _ := bufio.NewReader(in).ReadString('\n')
	fmt.Fprintln(out)
	return strings.TrimSpace(line) == name
}

func newInspectCommand() *cobra.Command {
	var asJSON, keys, leases bool
	cmd := &cobra.Command{
		Use:   "inspect DIR|FILE",
		Short: "Show what the data directory of a member holds, or a backup",
		Long: `Show what the data directory of a member holds, or a backup.

The member may run, or may have crashed. Not a byte of the directory changes. The store
is shown with all entries of the log, of which the last ones may not be committed. With
damage the command shows what it could read, and exits with 5. Of a store with groups the
command shows each group of the process, and the controllers. A backup is read as a
whole, and its checksums are compared.`,
		Example: "  raftlab inspect n1.raftlab\n  raftlab inspect n1.raftlab --json\n  raftlab inspect monday.backup --keys",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if isFile(args[0]) {
				b, err := datadir.VerifyBackup(args[0])
				if err != nil {
					return operated(err)
				}
				return inspectBackup(out, b, asJSON, keys, leases)
			}
			r, err := datadir.Inspect(args[0])
			if err != nil && r.Name == "" {
				return operated(err)
			}
			if len(r.Groups) > 0 {
				if leases {
					return errLeases(args[0])
				}
				return inspectGroups(out, r, asJSON, keys, err)
			}
			if asJSON {
				return errors.Join(printInspectionJSON(out, struct {
					*datadir.Report
					lists
				}{r, listAll(r.Store.View(), keys, leases)}), operated(err))
			}
			printReport(out, r)
			printContent(out, listAll(r.Store.View(), keys, leases))
			return operated(err)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&keys, "keys", false, "list the keys, without their values")
	f.BoolVar(&leases, "leases", false, "list the leases")
	return cmd
}

// inspectBackup prints what a backup holds.
func inspectBackup(out io.Writer, b *datadir.BackupReport, asJSON, keys, leases bool) error {
	if b.Groups > 0 {
		return inspectGroupsBackup(out, b, asJSON, keys, leases)
	}
	if asJSON {
		return printInspectionJSON(out, struct {
			Backup *datadir.BackupReport `json:"backup"`
			lists
		}{b, listAll(b.View(), keys, leases)})
	}
	printBackup(out, b)
	printContent(out, listAll(b.View(), keys, leases))
	return nil
}

// keyReport and leaseReport are elements of the lists of inspect.
type keyReport struct {
	Key            string         `json:"key"`
	CreateRevision int64          `json:"create_revision"`
	ModRevision    int64          `json:"mod_revision"`
	Version        int64          `json:"version"`
	Bytes          int            `json:"bytes"`
	Lease          datadir.Number `json:"lease,omitempty"`
}

type leaseReport struct {
	ID        datadir.Number `json:"id"`
	TTL       int64          `json:"ttl"`
	Remaining int64          `json:"remaining,omitempty"` // as of the last checkpoint
	Keys      int            `json:"keys"`
}

func listKeys(v *mvcc.View) (all []keyReport) {
	r, err := v.Range(mvcc.RangeRequest{Key: "\x00", End: mvcc.FromKey})
	if err != nil {
		return nil // the request is valid
	}
	for _, kv := range r.KVs {
		all = append(all, keyReport{kv.Key, kv.CreateRevision, kv.ModRevision, kv.Version, len(kv.Value), datadir.Number(kv.Lease)})
	}
	return all
}

func listLeases(v *mvcc.View) (all []leaseReport) {
	for _, l := range v.Leases() {
		all = append(all, leaseReport{datadir.Number(l.ID), l.TTL, l.Remaining, len(v.LeaseKeys(l.ID))})
	}
	return all
}

// lists are the lists of inspect.
type lists struct {
	Keys   []keyReport   `json:"keys,omitempty"`
	Leases []leaseReport `json:"leases,omitempty"`
}

// listAll returns the lists that are asked for. v is nil if the store could not be read.
func listAll(v *mvcc.View, keys, leases bool) (all lists) {
	if v != nil && keys {
		all.Keys = listKeys(v)
	}
	if v != nil && leases {
		all.Leases = listLeases(v)
	}
	return all
}

func printInspectionJSON(out io.Writer, inspection any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(inspection)
}

func memberText(m datadir.MemberReport) string {
	text := fmt.Sprintf("%s  %s at %s", m.ID, m.Role, m.Address)
	switch {
	case m.Name != "" && len(m.ClientURLs) > 0:
		text += fmt.Sprintf(" (%s, %s)", m.Name, strings.Join(m.ClientURLs, " "))
	case m.Name != "":
		text += fmt.Sprintf(" (%s)", m.Name)
	}
	return text
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// printReport prints a report as text.
func printReport(out io.Writer, r *datadir.Report) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	state := "no member runs on it"
	if r.InUse {
		state = "a member runs on it"
	}
	row("directory", "%s, format %d; %s", r.Directory, r.Format, state)
	if len(r.Groups) > 0 {
		row("store", "%s, %s", r.Cluster, count(len(r.Groups)-1, "group"))
		row("member", "%s, id %s, of %s", r.Name, r.ID, strings.Join(r.Processes, ", "))
		printFiles(row, &r.Log)
		return
	}
	row("cluster", "%s, id %s", r.Cluster, r.ClusterID)
	row("member", "%s, id %s", r.Name, r.ID)
	l := &r.Log
	printLog(row, &l.RaftReport)
	printFiles(row, l)
	printMembers(row, &l.RaftReport)
	if r.Store.View() == nil {
		return
	}
	st := &r.Store
	row("store", "revision %d, compacted at %d, after %s", st.Revision, st.Compacted, count(int(st.Replayed), "replayed command"))
	row("", "%s, %s, %s, %s", count(st.Keys, "key"), count(st.Versions, "version"), count(st.Leases, "lease"), count(int(st.Bytes), "byte"))
	row("level", "%d", st.Level)
	for _, a := range st.Alarms {
		row("alarm", "%s of member %s", a.Alarm, a.Member)
	}
	if st.Hash != nil {
		row("hash", "%08x", *st.Hash)
	}
}

// printLog prints Raft's state and the range of a log.
func printLog(row func(name, format string, args ...any), l *datadir.RaftReport) {
	vote := "nobody"
	if l.VotedFor != 0 {
		vote = l.VotedFor.String()
	}
	row("term", "%d, voted for %s", l.Term, vote)
	row("log", "entries %d to %d, the last one of term %d", l.FirstIndex, l.LastIndex, l.LastTerm)
	if s := l.Snapshot; s.Index > 0 {
		row("snapshot", "up to entry %d of term %d, %d bytes", s.Index, s.Term, s.Bytes)
	} else {
		row("snapshot", "none")
	}
}

// printMembers prints the members of a group.
func printMembers(row func(name, format string, args ...any), l *datadir.RaftReport) {
	for i, m := range l.Members {
		name := ""
		if i == 0 {
			name = fmt.Sprintf("members at %d", l.MembersIndex)
		}
		row(name, "%s", memberText(m))
	}
}

// printFiles prints the files of a log.
func printFiles(row func(name, format string, args ...any), l *datadir.LogReport) {
	for _, f := range l.Segments {
		row("segment", "%s/%s, %d bytes", l.Directory, f.Name, f.Bytes)
	}
	for _, f := range append(l.Snapshots, l.Others...) {
		row("file", "%s/%s, %d bytes", l.Directory, f.Name, f.Bytes)
	}
}

// printContent lists keys and leases as text.
func printContent(out io.Writer, all lists) {
	for _, l := range all.Leases {
		fmt.Fprintf(out, "lease %s: %d s, %s\n", l.ID, l.TTL, count(l.Keys, "key"))
	}
	for _, k := range all.Keys {
		fmt.Fprintf(out, "key %q: revision %d, version %d, %s\n", k.Key, k.ModRevision, k.Version, count(k.Bytes, "byte"))
	}
}

func newVerifyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify DIR|FILE...",
		Short: "Check all of a data directory, or of a backup",
		Long: `Check all of a data directory, or of a backup.

Of a directory the command checks the manifest, the chain of checksums over all segments
of the log, the snapshot, and the replay of the log onto the snapshot, and computes the
hash of the store. The member may run. Not a byte changes. Of a backup the command checks
all checksums.

Several directories of one cluster are also compared: at the lowest of their revisions
the hashes have to be equal. In a store with groups each group is checked, and compared
after the last entry that all directories have. Damage and different hashes end with exit code 5, and the
message names the file and the offset.`,
		Example: "  raftlab verify n1.raftlab\n  raftlab verify n1.raftlab n2.raftlab n3.raftlab\n  raftlab verify monday.backup",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var reports []*datadir.Report
			var all []error
			for _, path := range args {
				r, err := verifyPath(cmd.OutOrStdout(), path, asJSON)
				if all = append(all, err); r != nil {
					reports = append(reports, r)
				}
			}
			return operated(errors.Join(append(all, datadir.Compare(reports))...))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, one object for each argument")
	return cmd
}

// verifyPath checks a directory or a backup. The report is nil for a backup and for a
// damaged directory.
func verifyPath(out io.Writer, path string, asJSON bool) (*datadir.Report, error) {
	if !isDirectory(path) {
		b, err := datadir.VerifyBackup(path)
		if err != nil {
			return nil, err
		}
		if asJSON {
			return nil, json.NewEncoder(out).Encode(b)
		}
		printBackup(out, b)
		return nil, nil
	}
	r, err := datadir.Verify(path)
	if err != nil {
		return nil, err
	}
	if asJSON {
		return r, json.NewEncoder(out).Encode(r)
	}
	if len(r.Groups) > 0 {
		printVerifiedGroups(out, path, r)
		return r, nil
	}
	fmt.Fprintf(out, "%s: %s, %d entries of the log and %s are whole; revision %d, hash %08x\n", path,
		count(len(r.Log.Segments), "segment"), r.Store.Entries, count(len(r.Log.Snapshots), "snapshot"), r.Store.Revision, *r.Store.Hash)
	return r, nil
}
