package labtest

import (
	"reflect"
	"strings"

	"raftlab/raft"
)

// OwnRaft reports whether package raft is under test and is the project's own, and not a
// submission in its place. The project's Raft is built on the packages below raft.
func OwnRaft() bool {
	if otherRaft {
		return false
	}
	rf := reflect.TypeFor[raft.Raft]()
	for i := range rf.NumField() {
		field := rf.Field(i).Type
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if strings.HasPrefix(field.PkgPath(), "raftlab/raft/") {
			return true
		}
	}
	return false
}
