// Package quorum calls a majority of nodes. Any two majorities share a node, so a
// later majority always meets what an earlier one has stored. ABD and Paxos rest on this fact.
package quorum

import "raftlab/labrpc"

// Majority returns the size of a majority of n nodes.
func Majority(n int) int { return n/2 + 1 }

// Call calls a method on all nodes at once, and returns the replies of the first majority that
// answers. Without a majority, Call returns the fewer replies after the last call has failed.
// The remaining calls go on in goroutines, which end with their calls.
func Call[R any](nodes []*labrpc.ClientEnd, method string, args any) (replies []R, ok bool) {
	type answer struct {
		reply R
		ok    bool
	}
	answers := make(chan answer, len(nodes)) // room for all, so that no goroutine blocks
	for _, node := range nodes {
		go func() {
			var a answer
			a.ok = node.Call(method, args, &a.reply)
			answers <- a
		}()
	}
	for range nodes {
		if a := <-answers; a.ok {
			if replies = append(replies, a.reply); len(replies) == Majority(len(nodes)) {
				return replies, true
			}
		}
	}
	return replies, false
}
