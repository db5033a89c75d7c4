package etcdapi

import (
	"raftlab/kv"
	"raftlab/mvcc"
)

// PutEntry returns a log entry, for a test that has one member apply what the others do
// not.
func PutEntry(key, value string) []byte {
	e := entry{origin: 9, command: &mvcc.Command{Put: &mvcc.PutRequest{Key: key, Value: value}}}
	data, err := e.encode()
	if err != nil {
		panic(err)
	}
	return data
}

// Machine returns the state machine, for a test that applies what the log does not have.
func (s *Server) Machine() *Machine { return s.machine }

// Execute has a machine apply a write that the log does not have, or answers a read.
func Execute(m *Machine, w Write) (kv.Result, error) {
	if w.Op.Kind == kv.KindScan {
		return scan(m.store.View(), &w.Op), nil
	}
	defer m.publish()
	return m.execute(&w)
}

// WriteEntry returns the log entry of a write.
func WriteEntry(w Write) []byte {
	data, err := (&entry{origin: 9, write: &w}).encode()
	if err != nil {
		panic(err)
	}
	return data
}
