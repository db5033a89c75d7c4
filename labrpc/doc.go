// Package labrpc is a network inside a program, on which servers and their
// clients can be tested against everything that a real one does to them.
package labrpc
