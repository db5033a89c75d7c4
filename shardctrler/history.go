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

// MaxConfigBytes bounds the size of a configuration. The size is the total length
// of the names of all servers, plus 32 bytes for each server and each group.
const MaxConfigBytes = 1 << 20

// Config assigns shards to groups. A configuration is valid until the next one and
// never changes.
type Config struct {
	Num    int              // number in the sequence, from 0
	Shards [NShards]int     // gid of each shard's owner; 0 if there is none
	Groups map[int][]string // names of the servers of each member group, by gid
}

// Kind is the kind of a command.
type Kind uint8

const (
	KindQuery Kind = iota
	KindJoin
	KindLeave
	KindMove
	kindDrop // drop the configurations below Num
)

// Command is a command of the service. Kind says which fields count.
type Command struct {
	Kind   Kind
	Num    int              // KindQuery
	Groups map[int][]string // KindJoin
	GIDs   []int            // KindLeave
	Shard  int              // KindMove
	GID    int              // KindMove
}

// Result is the result of a command.
type Result struct {
	Problem string // why a change is invalid; "" if the change is valid
	Num     int    // number of the newest configuration after a change
	Config  Config // KindQuery
}

// entryBytes counts for a server or a group besides the names.
const entryBytes = 32

func groupBytes(groups map[int][]string) int {
	size := 0
	for _, servers := range groups {
		size += entryBytes
		for _, name := range servers {
			size += entryBytes + len(name)
		}
	}
	return size
}

// checkSize returns an error if no configuration can have the groups of a command.
func (c *Command) checkSize() error {
	return checkBytes(groupBytes(c.Groups) + entryBytes*len(c.GIDs))
}

func checkBytes(size int) error {
	if size > MaxConfigBytes {
		return fmt.Errorf("the groups and servers take %d bytes; the limit is %d", size, MaxConfigBytes)
	}
	return nil
}

// history is the state machine of the service. Any goroutine may call the methods.
type history struct {
	mu      sync.Mutex
	configs []Config      // kept configurations, oldest first; only appended to or replaced
	grown   chan struct{} // closed when configs changes
}

func newHistory() *history {
	return &history{configs: []Config{{Groups: map[int][]string{}}}, grown: make(chan struct{})}
}

// newest returns the newest configuration. The caller holds the lock.
func (h *history) newest() Config { return h.configs[len(h.configs)-1] }

// config returns configuration num or, if num is not kept, the nearest one. A
// negative num stands for the newest configuration. The caller holds the lock.
func (h *history) config(num int) Config {
	i := num - h.configs[0].Num
	if num < 0 || i >= len(h.configs) {
		return h.newest()
	}
	return h.configs[max(i, 0)]
}

// after returns the kept configurations after num, and a channel that is closed when
// the configurations change.
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
		return Result{Config: h.config(c.Num)}
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

// replace replaces the configurations and wakes the waiting requests.
func (h *history) replace(configs []Config) {
	h.configs = configs
	close(h.grown)
	h.grown = make(chan struct{})
}

// drop drops the configurations below num. The oldest kept configuration has groups,
// whatever num is.
func (h *history) drop(num int) {
	for i, c := range h.configs {
		if c.Num >= num && len(c.Groups) > 0 {
			h.replace(slices.Clone(h.configs[i:]))
			return
		}
	}
}

// droppable returns the number below which no configuration is needed. At least keep
// configurations remain, every group in a kept configuration has reached that
// number, and the configuration of that number has groups. reached has the
// configuration of each group. ok is false if there is nothing to drop.
func (h *history) droppable(keep int, reached map[int]int) (below int, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	below = h.newest().Num - keep + 1
	for _, c := range h.configs {
		for gid := range c.Groups {
			below = min(below, reached[gid])
		}
	}
	oldest := h.configs[0].Num
	for below > oldest && len(h.config(below).Groups) == 0 {
		below--
	}
	return below, below > oldest
}

// names reports whether a kept configuration has the group.
func (h *history) names(gid int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.configs, func(c Config) bool { return c.Groups[gid] != nil })
}

// change returns the configuration after a command. If the command has no effect,
// the configuration is c.
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
			return c, fmt.Errorf("join of group %d: the group is already a member", gid)
		case len(groups[gid]) == 0:
			return c, fmt.Errorf("join of group %d: the group has no servers", gid)
		}
		next.Groups[gid] = slices.Clone(groups[gid])
	}
	if err := checkBytes(groupBytes(next.Groups)); err != nil {
		return c, fmt.Errorf("join of %d groups: %w", len(groups), err)
	}
	next.rebalance(c.Shards)
	return next, nil
}

func (c Config) leave(gids []int) (Config, error) {
	if len(gids) == 0 {
		return c, errors.New("leave of no groups")
	}
	next := Config{Num: c.Num + 1, Groups: c.members()}
	for _, gid := range gids {
		if _, member := next.Groups[gid]; !member {
			return c, fmt.Errorf("leave of group %d: the group is not a member", gid)
		}
		delete(next.Groups, gid)
	}
	next.rebalance(c.Shards)
	return next, nil
}

func (c Config) move(shard, gid int) (Config, error) {
	if shard < 0 || shard >= NShards {
		return c, fmt.Errorf("move of shard %d: shards are 0 to %d", shard, NShards-1)
	}
	if _, member := c.Groups[gid]; !member {
		return c, fmt.Errorf("move of shard %d to group %d: the group is not a member", shard, gid)
	}
	if c.Shards[shard] == gid {
		return c, nil
	}
	c.Num++
	c.Shards[shard] = gid
	return c, nil
}

// members returns a copy of Groups. The copy is never nil.
func (c Config) members() map[int][]string {
	members := make(map[int][]string, len(c.Groups))
	maps.Copy(members, c.Groups)
	return members
}

// rebalance assigns the shards to the groups. owners are the previous owners.
func (c *Config) rebalance(owners [NShards]int) {
	copy(c.Shards[:], balance(owners[:], slices.Sorted(maps.Keys(c.Groups))))
}
