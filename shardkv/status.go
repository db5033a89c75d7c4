package shardkv

// Status is a picture of a server for people and monitoring.
type Status struct {
	Term     int
	IsLeader bool          // as far as the server knows
	Applied  int           // index of the last command that the state includes
	Config   int           // number of the newest configuration that the group has reached
	Shards   []ShardStatus // shards that the group owns, awaits or hands over
	Err      error         // why the server stopped by itself; nil while the server runs
}

// ShardStatus is a picture of a shard at a group.
type ShardStatus struct {
	Shard    int
	State    ShardState
	Keys     int
	Sessions int // client sessions
	Locked   int // transactions that hold locks
}

// ShardState is the state of a shard at a group.
type ShardState string

const (
	StateServed   ShardState = "served"   // the group owns the shard and has the data
	StateArriving ShardState = "arriving" // the group owns the shard and awaits the data
	StateLeaving  ShardState = "leaving"  // the group no longer owns the shard but has, or still awaits, the data
)

// Status returns the present status of the server.
func (s *ShardKV) Status() Status {
	role := s.raftLog.Leadership()
	status := Status{Term: int(role.Term), IsLeader: role.Leads, Applied: int(s.replica.Applied()), Err: s.replica.Err()}
	s.state.describe(&status)
	return status
}

// describe fills in the configuration and the shards of a status.
func (st *state) describe(status *Status) {
	st.mu.Lock()
	defer st.mu.Unlock()
	status.Config = st.config.Num
	for i := range st.shards {
		s := &st.shards[i]
		if len(s.Tenures) == 0 {
			continue
		}
		shard := ShardStatus{Shard: i, State: StateLeaving}
		switch _, code := s.serving(); code {
		case Served:
			shard.State = StateServed
		case Arriving:
			shard.State = StateArriving
		}
		if s.data != nil {
			shard.Keys, shard.Sessions, shard.Locked = s.data.store.Len(), s.data.sessions.Len(), len(s.data.txns.prepared)
		}
		status.Shards = append(status.Shards, shard)
	}
}
