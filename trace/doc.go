// Package trace records runs of a distributed system and turns a failed run into one page:
// what was broken, the events that prove it, and a space-time diagram to look around in.
//
// A [Recorder] collects events: messages sent, delivered and lost, crashes, partitions,
// commands, operations of clients, and lines of a log. Its memory is bounded, and a passing
// run costs little. A failed check adds a [Breach]: the broken rule with the
// servers, the term or the index. [Recorder.Recording] ends the run, and [Explain] finds
// the events behind the breach, and other rules broken by messages before.
//
//	rec := trace.NewRecorder(trace.Options{})
//	a, b := rec.Lane("S0", trace.Server), rec.Lane("S1", trace.Server)
//	rec.Add(trace.Event{Kind: trace.Sent, Lane: a, Peer: b, Message: 1, Name: "RequestVote"})
//	rec.Add(trace.Event{Kind: trace.Delivered, Lane: b, Peer: a, Message: 1, Name: "RequestVote"})
//	run := rec.Recording()
//	err := trace.WritePage(file, run)
//
// [WriteFile] and [ReadFile] keep a recording as a file of JSON lines. [WriteShiViz] writes
// the format of ShiViz, with vector clocks. The lab suites of this project record by
// themselves, and raftlab trace makes pages of files. Package trace/nodetrace records
// servers of package raft/node.
//
// # Bounds
//
// A Recorder keeps the newest [MaxEvents] events and [MaxBytes] of message bodies. Older
// events are counted in [Recording.Omitted].
package trace
