package raft

import "sync"

// mailbox is an unbounded queue between the actor and applyCh, so that the actor never
// waits for the service.
type mailbox struct {
	mu    sync.Mutex
	queue []ApplyMsg
	bell  chan struct{}
}

func newMailbox() *mailbox {
	return &mailbox{bell: make(chan struct{}, 1)}
}

func (m *mailbox) post(msgs ...ApplyMsg) {
	m.mu.Lock()
	m.queue = append(m.queue, msgs...)
	m.mu.Unlock()
	select {
	case m.bell <- struct{}{}:
	default:
	}
}

func (m *mailbox) collect() []ApplyMsg {
	m.mu.Lock()
	defer m.mu.Unlock()
	msgs := m.queue
	m.queue = nil
	return msgs
}

// carry sends the messages until done is closed.
func (m *mailbox) carry(applyCh chan ApplyMsg, done chan struct{}) {
	for {
		select {
		case <-m.bell:
		case <-done:
			return
		}
		for _, msg := range m.collect() {
			select {
			case applyCh <- msg:
			case <-done:
				return
			}
		}
	}
}

// commitTo raises the commit index, and posts what is newly committed.
func (rf *Raft) commitTo(index int) {
	rf.commit = max(rf.commit, index)
	for rf.applied < rf.commit {
		rf.applied++
		rf.mail.post(ApplyMsg{
			CommandValid: true,
			Command:      rf.log.Records[rf.applied-rf.log.Start-1].Command,
			CommandIndex: rf.applied,
		})
	}
}
