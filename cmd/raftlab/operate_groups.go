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
	for _, k := range all {
		fmt.Fprintf(out, "key %q: group %s, shard %d, version %d, %s\n", k.Key, k.Group, k.Shard, k.Version, count(k.Bytes, "byte"))
	}
	return operated(damage)
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
