package raft

// heartbeat sends to each peer, and waits no longer for answers to earlier messages.
func (n *node) heartbeat() {
	for i := range n.peers {
		if i != n.me {
			n.replicate(i)
		}
	}
}

// replicateNew sends entries to the peers that have answered the last entries. The other
// peers get the entries after the answer.
func (n *node) replicateNew() {
	for i, p := range n.progress {
		if i != n.me && !p.waiting && p.next <= n.log.last {
			n.replicate(i)
		}
	}
}

// replicate sends the unsent entries, or an empty heartbeat.
func (n *node) replicate(peer int) {
	p := &n.progress[peer]
	if p.next <= n.log.snapIndex {
		n.sendSnapshot(peer)
		return
	}
	prevTerm, _ := n.log.term(p.next - 1)
	args := &AppendEntriesArgs{n.term, p.next - 1, prevTerm, n.log.from(p.next), n.commit}
	p.next = n.log.last + 1
	p.waiting = len(args.Entries) > 0
	go func() {
		reply := &AppendEntriesReply{}
		ok := n.peers[peer].Call("Raft.AppendEntries", args, reply)
		n.answer(func(n *node) { n.appended(peer, args, reply, ok) })
	}()
}

func (n *node) appended(peer int, args *AppendEntriesArgs, reply *AppendEntriesReply, ok bool) {
	n.observe(reply.Term)
	if n.role != leader || n.term != args.Term {
		return
	}
	p := &n.progress[peer]
	switch {
	case !ok:
		// The entries may be lost. The next heartbeat sends the entries again.
		p.next = min(p.next, max(args.PrevIndex, p.match)+1)
	case reply.Success:
		if match := args.PrevIndex + len(args.Entries); match > p.match {
			p.match = match
			p.next = max(p.next, match+1)
			n.advanceCommit()
		}
		p.waiting = p.waiting && len(args.Entries) == 0
		n.replicateNew()
	case reply.Term == n.term && args.PrevIndex > p.match:
		p.next = max(min(p.next, reply.Next), p.match+1)
		n.replicate(peer)
	}
}

func (n *node) sendSnapshot(peer int) {
	p := &n.progress[peer]
	args := &InstallSnapshotArgs{n.term, n.log.snapIndex, n.log.snapTerm, n.persister.ReadSnapshot()}
	p.next, p.waiting = n.log.snapIndex+1, true
	go func() {
		reply := &InstallSnapshotReply{}
		ok := n.peers[peer].Call("Raft.InstallSnapshot", args, reply)
		n.answer(func(n *node) { n.installed(peer, args, reply, ok) })
	}()
}

func (n *node) installed(peer int, args *InstallSnapshotArgs, reply *InstallSnapshotReply, ok bool) {
	n.observe(reply.Term)
	if n.role != leader || n.term != args.Term {
		return
	}
	p := &n.progress[peer]
	switch {
	case !ok:
		p.next = p.match + 1
	case reply.Term == n.term && args.LastIndex > p.match:
		p.match = args.LastIndex
		p.next, p.waiting = max(p.next, p.match+1), false
		n.advanceCommit()
		n.replicateNew()
	}
}

func (n *node) appendEntries(args *AppendEntriesArgs) AppendEntriesReply {
	if args.Term < n.term {
		return AppendEntriesReply{Term: n.term}
	}
	n.observe(args.Term)
	n.role = follower
	n.resetTimer()

	if args.PrevIndex > n.log.last {
		return AppendEntriesReply{Term: n.term, Next: n.log.last + 1}
	}
	if term, ok := n.log.term(args.PrevIndex); ok && term != args.PrevTerm {
		// Skip the whole term of the conflict.
		next := args.PrevIndex
		for t, ok := n.log.term(next - 1); ok && t == term && next-1 > n.log.snapIndex; t, ok = n.log.term(next - 1) {
			next--
		}
		return AppendEntriesReply{Term: n.term, Next: next}
	}

	changed := false
	for i, e := range args.Entries {
		index := args.PrevIndex + 1 + i
		if index <= n.log.snapIndex {
			continue // committed long ago
		}
		if term, ok := n.log.term(index); ok && term == e.Term {
			continue
		}
		n.log.truncate(index - 1)
		n.log.add(e)
		changed = true
	}
	if changed {
		n.save()
	}
	n.commit = max(n.commit, min(args.Commit, args.PrevIndex+len(args.Entries)))
	return AppendEntriesReply{Term: n.term, Success: true}
}

func (n *node) installSnapshot(args *InstallSnapshotArgs) InstallSnapshotReply {
	if args.Term < n.term {
		return InstallSnapshotReply{Term: n.term}
	}
	n.observe(args.Term)
	n.role = follower
	n.resetTimer()
	if args.LastIndex > n.commit {
		n.log.compact(args.LastIndex, args.LastTerm)
		n.commit = args.LastIndex
		n.snapshot = &ApplyMsg{
			SnapshotValid: true,
			Snapshot:      args.Data,
			SnapshotTerm:  args.LastTerm,
			SnapshotIndex: args.LastIndex,
		}
		n.persister.Save(n.encode(), args.Data)
	}
	return InstallSnapshotReply{Term: n.term}
}
