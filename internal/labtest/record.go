package labtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"raftlab/internal/labrun"
	"raftlab/internal/labtrace"
	"raftlab/labrpc"
	"raftlab/porcupine"
	"raftlab/trace"
)

// A violation is an error of a check with the evidence as data.
type violation struct{ trace.Breach }

func (v violation) Error() string { return v.Text }

// violated returns the error of a check.
func violated(b trace.Breach, format string, args ...any) error {
	b.Text = fmt.Sprintf(format, args...)
	return violation{b}
}

// breachOf returns the evidence of an error.
func breachOf(err error) trace.Breach {
	var v violation
	if errors.As(err, &v) {
		v.Text = err.Error()
		return v.Breach
	}
	return trace.Breach{Rule: trace.Other, Text: err.Error()}
}

// Record starts the recording of a network. A failed test leaves a page with what happened.
// RAFTLAB_TRACE=1 also logs each message.
func Record(t testing.TB, net *labrpc.Network, lanes labtrace.Lanes) *labrun.Recording {
	Trace(t, net)
	rec := labrun.Record(t)
	rec.Tap(func() func() { return labtrace.Listen(net, rec.Recorder, lanes) })
	return rec
}

// record starts the recording of a cluster. Server i is lane i.
func (c *Cluster) record() {
	c.rec = Record(c.t, c.Net, labtrace.Lanes{
		End:    func(end any) (string, bool) { return labtrace.ServerName(end.(endName).From), true },
		Server: labtrace.ServerName,
	})
	for i := range c.N {
		c.rec.Lane(labtrace.ServerName(i), trace.Server)
	}
	c.rec.OnFailure(func(run *trace.Recording) { run.RPCs = c.kinds.rpcs() })
}

// paperRPCs are the names of the paper's RPCs.
var paperRPCs = map[Kind]string{Vote: "RequestVote", PreVote: "RequestVote", Append: "AppendEntries", Snapshot: "InstallSnapshot"}

// rpcs returns the names of the paper for the methods with names of their own.
func (k *kinds) rpcs() *trace.RPCs {
	k.mu.Lock()
	defer k.mu.Unlock()
	rpcs := &trace.RPCs{Methods: make(map[string]string), Granted: k.grants, Success: k.accepts}
	for method, kind := range k.methods {
		if name := paperRPCs[kind]; name != "" {
			rpcs.Methods[method] = name
		}
	}
	return rpcs
}

// notes records an event of a server.
func (c *Cluster) notes(kind trace.Kind, id, index, term int, text string) {
	c.rec.Add(trace.Event{Time: c.rec.Now(), Kind: kind, Lane: id, Index: index, Term: term, Text: text})
}

// notesSave records that a server has saved a state of another size.
func (c *Cluster) notesSave(s *server) {
	size := s.persister.RaftStateSize()
	if s.saved.Swap(int64(size)) == int64(size) {
		return
	}
	c.notes(trace.Saved, s.id, 0, 0, savedText(size))
}

func savedText(size int) string { return fmt.Sprintf("has saved a state of %d bytes", size) }

// of completes the error of a check on what a server applied.
func of(id int, err error) error {
	b := breachOf(err)
	b.Lanes = []int{id}
	return violated(b, "server %d %v", id, err)
}

// notesLinks records the partition of the network if it is new. The caller holds the lock.
func (c *Cluster) notesLinks() {
	now := partition(c.group)
	if now == c.partition {
		return
	}
	c.partition = now
	c.rec.Add(trace.Event{Time: c.rec.Now(), Kind: trace.Network, Lane: trace.NoLane, Text: now})
}

// partition describes groups of servers that reach each other.
func partition(group []int) string {
	members := make(map[int][]string)
	var order []int
	for i, g := range group {
		if members[g] == nil {
			order = append(order, g)
		}
		members[g] = append(members[g], labtrace.ServerName(i))
	}
	if len(order) == 1 {
		return "all servers are connected"
	}
	slices.Sort(order)
	var sets []string
	for _, g := range order {
		sets = append(sets, strings.Join(members[g], " "))
	}
	return "partition: " + strings.Join(sets, " | ")
}

// breaks adds a breach of a check that ends the test.
func (c *Cluster) breaks(b trace.Breach, format string, args ...any) {
	b.Text = fmt.Sprintf(format, args...)
	c.rec.Break(b)
}

// History completes the recording of a failed test with the operations of clients. A history
// that is not linearizable becomes a breach with the smallest set of operations that has no
// order. Times of the history count from start. lane names the client of an operation.
func History(rec *labrun.Recording, model porcupine.Model, start time.Time, lane func(client int) string, history func() []porcupine.Operation) {
	offset := start.Sub(rec.Start())
	rec.OnFailure(func(run *trace.Recording) {
		labtrace.AddHistory(run, model, history(), offset, lane)
	})
}

// record starts the recording of a service. Server i is lane i.
func (s *Service) record() {
	s.rec = Record(s.t, s.Net, labtrace.Lanes{
		End: func(end any) (string, bool) {
			name := end.(serviceEnd)
			if name.Client {
				return clientLane(name.From), false
			}
			return labtrace.ServerName(name.From), true
		},
		Server: labtrace.ServerName,
	})
	for i := range s.N {
		s.rec.Lane(labtrace.ServerName(i), trace.Server)
	}
}

func clientLane(n int) string { return fmt.Sprint("client ", n) }

// Recording returns the recording of the service.
func (s *Service) Recording() *labrun.Recording { return s.rec }

func (s *Service) notes(kind trace.Kind, id int, text string) {
	s.rec.Add(trace.Event{Time: s.rec.Now(), Kind: kind, Lane: id, Text: text})
}
