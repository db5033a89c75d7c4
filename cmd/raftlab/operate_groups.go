//go:build !wasip1

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"raftlab/internal/datadir"
	"raftlab/kv"
)

// groupKeyReport is a key of a store with groups in the lists of inspect.
type groupKeyReport struct {
	Group   string `json:"group"`
	Shard   int    `json:"shard"`
	Key     string `json:"key"`
	Version uint64 `json:"version"`
	Bytes   int    `json:"bytes"`
}

// inspectGroups prints what a directory of a store with groups holds. damage is why a part
// could not be read.
func inspectGroups(out io.Writer, r *datadir.Report, asJSON, keys bool, damage error) error {
	var all []groupKeyReport
	for i := range r.Groups {
		if g := &r.Groups[i]; keys {
			g.Pairs(func(shard int, p kv.Pair) {
				all = append(all, groupKeyReport{g.Group, shard, p.Key, p.Version, len(p.Value)})
			})
		}
	}
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return errors.Join(e.Encode(struct {
			*datadir.Report
			Keys []groupKeyReport `json:"keys,omitempty"`
		}{r, all}), operated(damage))
	}
	printReport(out, r)
	for i := range r.Groups {
		fmt.Fprintln(out)
		printGroup(out, &r.Groups[i])
	}
	printGroupKeys(out, all)
	return operated(damage)
}

func printGroupKeys(out io.Writer, all []groupKeyReport) {
	for _, k := range all {
		fmt.Fprintf(out, "key %q: group %s, shard %d, version %d, %s\n", k.Key, k.Group, k.Shard, k.Version, count(k.Bytes, "byte"))
	}
}

// errLeases refuses --leases for a store with groups.
func errLeases(path string) error {
	return usageError("--leases is for a store without groups, and the store in %s has groups", path)
}

// inspectGroupsBackup prints what the backup of a store with groups holds.
func inspectGroupsBackup(out io.Writer, b *datadir.BackupReport, asJSON, keys, leases bool) error {
	if leases {
		return errLeases(b.File)
	}
	var all []groupKeyReport
	if keys {
		b.Pairs(func(group string, shard int, p kv.Pair) {
			all = append(all, groupKeyReport{group, shard, p.Key, p.Version, len(p.Value)})
		})
	}
	if asJSON {
		return printInspectionJSON(out, struct {
			Backup *datadir.BackupReport `json:"backup"`
			Keys   []groupKeyReport      `json:"keys,omitempty"`
		}{b, all})
	}
	printBackup(out, b)
	for _, s := range b.Shards {
		from := "no group"
		if s.Group != "" {
			from = "group " + s.Group
		}
		fmt.Fprintf(out, "shard %d: %s, %s\n", s.Shard, from, count(s.Keys, "key"))
	}
	printGroupKeys(out, all)
	return nil
}

// printGroupsRecovery says what a recovery of a store with groups does and may lose.
func printGroupsRecovery(out io.Writer, p *datadir.Recovery) {
	b, g := p.Before, p.Groups
	fmt.Fprintf(out, "%s: process %s of store %s (%s), of the processes %s. The most up-to-date logs:\n", b.Directory, b.Name, b.Cluster, b.ClusterID,
		strings.Join(g.Processes, ", "))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range g.Sources {
		fmt.Fprintf(w, "  group %s\tof %s\tends at index %d of term %d\n", s.Group, s.Directory, s.LastIndex, s.LastTerm)
	}
	w.Flush()
	fmt.Fprintf(out, "Together they have %s.\n", count(g.Keys, "key"))
	for _, shard := range g.Lost {
		fmt.Fprintf(out, "The data of shard %d is in none of these logs. The shard will be empty.\n", shard)
	}
	if g.Torn > 0 {
		fmt.Fprintf(out, "%s under way will have taken effect in some of their shards alone, or in none.\n", count(g.Torn, "transaction"))
	}
	fmt.Fprintf(out, `
The recovery makes this process the only one of a new store.
- Writes that these logs do not have are lost, also acknowledged ones.
- The logs of the groups end at different moments. So a transaction may have taken effect
  in some of its shards alone, and of a shard on its way between two groups an older copy
  may count.
- Writes that no majority had, and whose clients got an error, may take effect.
- The other processes must never start again on their data. A majority of them would
  serve the old state beside the new store.
- For a store of more processes, start this one, and use raftlab backup and raftlab restore.
- The former log stays in %s, and the former manifest in %s.
`, b.Log.Directory, p.Kept)
}

// printGroup prints a group as text.
func printGroup(out io.Writer, g *datadir.GroupReport) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("group", "%s", g.Group)
	printLog(row, &g.RaftReport)
	printMembers(row, &g.RaftReport)
	row("state", "configuration %d, %s, after %s, hash %s", g.Config, count(g.Keys, "key"), count(int(g.Replayed), "replayed command"), g.Hash)
	for _, s := range g.Shards {
		text := fmt.Sprintf("%d, %s, %s, %s", s.Shard, s.State, count(s.Keys, "key"), count(s.Sessions, "session"))
		if s.Locked > 0 {
			text += ", locked by " + count(s.Locked, "transaction")
		}
		row("shard", "%s", text)
	}
}

// printVerifiedGroups says what was checked of a directory of a store with groups.
func printVerifiedGroups(out io.Writer, path string, r *datadir.Report) {
	entries := uint64(0)
	var hashes []string
	for i := range r.Groups {
		g := &r.Groups[i]
		entries += g.Entries
		hashes = append(hashes, fmt.Sprintf("%s: %s after %d", g.Group, g.Hash, g.LastIndex))
	}
	fmt.Fprintf(out, "%s: %s, %d entries of the log and %s are whole; hashes %s\n", path,
		count(len(r.Log.Segments), "segment"), entries, count(len(r.Log.Snapshots), "snapshot"), strings.Join(hashes, ", "))
}
