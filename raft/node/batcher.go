package node

import "raftlab/raft/core"

// batcher hands messages to a transport, those for one peer together. One
// goroutine at a time uses it.
type batcher struct{ peers []peerBatch }

type peerBatch struct {
	to       core.NodeID
	messages []Message
}

// add adds messages of a group.
func (b *batcher) add(n *Node, messages []core.Message) {
	for i := range messages {
		m := &messages[i]
		if n.completesLater(*m) {
			continue
		}
		if req, ok := m.Body.(*core.AppendEntries); ok && len(req.Entries) > 1 {
			limit := n.host.maxMessageBytes(m.To)
			if limit > 0 && appendOverhead+entriesSize(req.Entries) > limit {
				for _, part := range splitAppend(req, limit) {
					b.put(n, m.To, m.Call, part)
				}
				continue
			}
		}
		b.put(n, m.To, m.Call, m.Body)
	}
}

func (b *batcher) put(n *Node, to core.NodeID, call uint64, body core.Body) {
	n.traceSent(to, body)
	batch := b.peer(to)
	batch.messages = append(batch.messages, Message{Group: n.cfg.Group, Call: call, Body: body})
}

// appendOverhead is more than a request and one of its entries occupy in a message beside
// the data.
const appendOverhead = 128

// splitAppend returns requests of at most limit bytes in the place of one. The core makes
// requests of Config.MaxBatchBytes for all members, and a member may take less. The
// request with a single entry may be above the limit, and the transport reports it.
func splitAppend(req *core.AppendEntries, limit int) []*core.AppendEntries {
	size, first := appendOverhead, 0
	var parts []*core.AppendEntries
	for i := range req.Entries {
		entry := entryOverhead + len(req.Entries[i].Data)
		if i > first && size+entry > limit {
			parts = append(parts, partOf(req, first, i))
			size, first = appendOverhead, i
		}
		size += entry
	}
	return append(parts, partOf(req, first, len(req.Entries)))
}

// partOf returns a request with some entries of another one. The followers of the leader
// cannot tell the parts from requests that the leader has sent one after the other.
func partOf(req *core.AppendEntries, first, end int) *core.AppendEntries {
	part := *req
	part.Entries = req.Entries[first:end]
	if first > 0 {
		before := &req.Entries[first-1]
		part.PrevLogIndex, part.PrevLogTerm = before.Index, before.Term
	}
	return &part
}

func (b *batcher) peer(to core.NodeID) *peerBatch {
	for i := range b.peers {
		if b.peers[i].to == to {
			return &b.peers[i]
		}
	}
	b.peers = append(b.peers, peerBatch{to: to})
	return &b.peers[len(b.peers)-1]
}

// send sends what was added.
func (b *batcher) send(transport Transport) {
	for i := range b.peers {
		if batch := &b.peers[i]; len(batch.messages) > 0 {
			transport.Send(batch.to, batch.messages)
			clear(batch.messages)
			batch.messages = keep(batch.messages)
		}
	}
}
