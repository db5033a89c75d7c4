package shardctrler

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// NShards is the number of shards.
const NShards = 10

// Config is a configuration: which group owns which shard, from one change to
// the next. It is never changed.
type Config struct {
	Num    int              // configurations are numbered from 0
	Shards [NShards]int     // the gid of each shard's owner; 0: none
	Groups map[int][]string // each member group's servers, by gid
}

// Kind is what a command does.
type Kind uint8

const (
	KindQuery Kind = iota
	KindJoin
	KindLeave
	KindMove
	kindDrop // forget the configurations below Num
)

// Command is a command of the service. Which fields count depends on Kind.
type Command struct {
	Kind   Kind
	Num    int              // of Query
	Groups map[int][]string // of Join
	GIDs   []int            // of Leave
	Shard  int              // of Move
	GID    int              // of Move
}

// Result is a command's result.
type Result struct {
	Problem string // why a change is not valid; "": it is
	Num     int    // of a change: the newest configuration's number
	Config  Config // of a Query
}

// history is the service's state machine: the configurations. Its methods may
// be called from any goroutine.
type history struct {
	mu      sync.Mutex
	configs []Config      // from the oldest that is kept to the newest; only appended to, or replaced
	grown   chan struct{} // closed when configs changes
}

func newHistory() *history {
	return &history{configs: []Config{{Groups: map[int][]string{}}}, grown: make(chan struct{})}
}

// newest returns the newest configuration. The lock is held.
func (h *history) newest() Config { return h.configs[len(h.configs)-1] }

// at returns configuration num, or the kept one that is nearest to it; the
// newest if num is negative. The lock is held.
func (h *history) at(num int) Config {
	i := num - h.configs[0].Num
	if num < 0 || i >= len(h.configs) {
		return h.newest()
	}
	return h.configs[max(i, 0)]
}

// after returns the configurations that follow num, as far as they are kept, and
// a channel that is closed when there are others.
func (h *history) after(num int) ([]Config, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	skip := max(num+1-h.configs[0].Num, 0)
	return h.configs[min(skip, len(h.configs)):], h.grown
}

// Apply executes a command.
func (h *history) Apply(c Command) Result {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch c.Kind {
	case KindQuery:
		return Result{Config: h.at(c.Num)}
	case kindDrop:
		h.drop(c.Num)
		return Result{Num: h.newest().Num}
	}
	next, err := h.newest().change(c)
	if err != nil {
		return Result{Problem: err.Error(), Num: h.newest().Num}
	}
	if next.Num > h.newest().Num {
		h.replace(append(h.configs, next))
	}
	return Result{Num: next.Num}
}

// replace puts configs in the place of those there are, and tells who waits.
func (h *history) replace(configs []Config) {
	h.configs = configs
	close(h.grown)
	h.grown = make(chan struct{})
}

// drop forgets the configurations below num. The oldest that stays has groups,
// whatever num is.
func (h *history) drop(num int) {
	for i, c := range h.configs {
		if c.Num >= num && len(c.Groups) > 0 {
			h.replace(slices.Clone(h.configs[i:]))
			return
		}
	}
}

// change returns the configuration that follows c by a command, or c itself if
// the command leaves everything as it is.
func (c Config) change(cmd Command) (Config, error) {
	switch cmd.Kind {
	case KindJoin:
		return c.join(cmd.Groups)
	case KindLeave:
		return c.leave(cmd.GIDs)
	case KindMove:
		return c.move(cmd.Shard, cmd.GID)
	}
	return c, fmt.Errorf("unknown kind %d of command", cmd.Kind)
}

func (c Config) join(groups map[int][]string) (Config, error) {
	if len(groups) == 0 {
		return c, errors.New("join of no groups")
	}
	next := Config{Num: c.Num + 1, Groups: c.members()}
	for _, gid := range slices.Sorted(maps.Keys(groups)) {
		switch _, member := c.Groups[gid]; {
		case gid <= 0:
			return c, fmt.Errorf("join of group %d: a gid is positive", gid)
		case member:
			return c, fmt.Errorf("join of group %d: it is a member already", gid)
		case len(groups[gid]) == 0:
			return c, fmt.Errorf("join of group %d: it has no servers", gid)
		}
		next.Groups[gid] = slices.Clone(groups[gid])
	}
	next.spread(c.Shards)
	return next, nil
}

func (c Config) leave(gids []int) (Config, error) {
	if len(gids) == 0 {
		return c, errors.New("leave of no groups")
	}
	next := Config{Num: c.Num + 1, Groups: c.members()}
	for _, gid := range gids {
		if _, member := next.Groups[gid]; !member {
			return c, fmt.Errorf("leave of group %d: it is not a member", gid)
		}
		delete(next.Groups, gid)
	}
	next.spread(c.Shards)
	return next, nil
}

func (c Config) move(shard, gid int) (Config, error) {
	if shard < 0 || shard >= NShards {
		return c, fmt.Errorf("move of shard %d: shards are 0 to %d", shard, NShards-1)
	}
	if _, member := c.Groups[gid]; !member {
		return c, fmt.Errorf("move of shard %d to group %d: it is not a member", shard, gid)
	}
	if c.Shards[shard] == gid {
		return c, nil
	}
	c.Num++
	c.Shards[shard] = gid
	return c, nil
}

// members returns a copy of Groups that is not nil.
func (c Config) members() map[int][]string {
	members := make(map[int][]string, len(c.Groups))
	maps.Copy(members, c.Groups)
	return members
}

// spread assigns the shards, which were owned by owners, to the groups.
func (c *Config) spread(owners [NShards]int) {
	copy(c.Shards[:], balance(owners[:], slices.Sorted(maps.Keys(c.Groups))))
}
