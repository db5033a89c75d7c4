package raft

import (
	"bytes"

	"raftlab/labgob"
)

// columns is the log: a column of terms and one of commands, behind the snapshot.
type columns struct {
	offset     int // the index before terms[0], which is the snapshot's
	offsetTerm int
	terms      []int
	commands   []any
}

func (c *columns) last() int { return c.offset + len(c.terms) }

func (c *columns) lastTerm() int { return c.term(c.last()) }

// term returns the term at index, which is offset at least.
func (c *columns) term(index int) int {
	if index == c.offset {
		return c.offsetTerm
	}
	return c.terms[index-c.offset-1]
}

func (c *columns) command(index int) any { return c.commands[index-c.offset-1] }

func (c *columns) push(term int, command any) {
	c.terms = append(c.terms, term)
	c.commands = append(c.commands, command)
}

// keep drops all behind index.
func (c *columns) keep(index int) {
	c.terms = c.terms[:index-c.offset]
	c.commands = c.commands[:index-c.offset]
}

// between returns the columns of the indexes after..to, without after.
func (c *columns) between(after, to int) ([]int, []any) {
	return append([]int(nil), c.terms[after-c.offset:to-c.offset]...),
		append([]any(nil), c.commands[after-c.offset:to-c.offset]...)
}

// rebase moves the offset to a snapshot. Entries behind it stay if they follow from it.
func (c *columns) rebase(index, term int) {
	next := columns{offset: index, offsetTerm: term}
	if index <= c.last() && index >= c.offset && c.term(index) == term {
		next.terms, next.commands = c.between(index, c.last())
	}
	*c = next
}

func (rf *Raft) state() []byte {
	var b bytes.Buffer
	e := labgob.NewEncoder(&b)
	for _, v := range []any{rf.term, rf.vote, rf.log.offset, rf.log.offsetTerm, rf.log.terms, rf.log.commands} {
		if err := e.Encode(v); err != nil {
			panic("raft: encode: " + err.Error())
		}
	}
	return b.Bytes()
}

func (rf *Raft) save() { rf.store.Save(rf.state(), rf.snap) }

func (rf *Raft) load(state []byte) {
	if len(state) == 0 {
		return
	}
	d := labgob.NewDecoder(bytes.NewReader(state))
	for _, v := range []any{&rf.term, &rf.vote, &rf.log.offset, &rf.log.offsetTerm, &rf.log.terms, &rf.log.commands} {
		if err := d.Decode(v); err != nil {
			panic("raft: decode: " + err.Error())
		}
	}
}
