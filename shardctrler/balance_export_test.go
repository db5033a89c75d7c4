package shardctrler

// Balance is balance, for property tests.
var Balance = balance

// Reports returns the number of groups whose progress a server remembers.
func Reports(sc *ShardCtrler) int {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return len(sc.reached)
}
