package etcdapi

import "raftlab/mvcc"

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
