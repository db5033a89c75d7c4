package shardkv

// Status is a picture of a server, for people and monitoring.
type Status struct {
	Term     int
	IsLeader bool          // it believes so
	Applied  int           // index of the last command that the state includes
	Config   int           // number of the newest configuration that the group has taken
	Shards   []ShardStatus // those that the group has anything to do with
	Err      error         // why the server stopped by itself; nil while it runs
}

// ShardStatus is a picture of a shard at a group.
type ShardStatus struct {
	Shard    int
	State    ShardState
	Keys     int // that are here
	Sessions int // client sessions that are remembered
	Locked   int // transactions that have keys locked
}

// ShardState is what a shard is to a group.
type ShardState string

const (
	Serving ShardState = "served"   // the group owns it, and has it
	Coming  ShardState = "arriving" // the group owns it, and does not have it yet
	Leaving ShardState = "leaving"  // the group has it, or is to have it, and does not own it any more
)

// Status returns what the server is now.
func (s *ShardKV) Status() Status {
	term, isLeader := s.raft.GetState()
	status := Status{Term: term, IsLeader: isLeader, Applied: s.replica.Applied(), Err: s.replica.Err()}
	s.state.describe(&status)
	return status
}

// describe fills in what a status says of configuration and shards.
func (st *state) describe(status *Status) {
	st.mu.Lock()
	defer st.mu.Unlock()
	status.Config = st.config.Num
	for i := range st.shards {
		s := &st.shards[i]
		if len(s.Tenures) == 0 {
			continue
		}
		shard := ShardStatus{Shard: i, State: Leaving}
		switch _, status := s.serving(); status {
		case Served:
			shard.State = Serving
		case Arriving:
			shard.State = Coming
		}
		if s.data != nil {
			shard.Keys, shard.Sessions, shard.Locked = s.data.store.Len(), s.data.sessions.Len(), len(s.data.txns.prepared)
		}
		status.Shards = append(status.Shards, shard)
	}
}
