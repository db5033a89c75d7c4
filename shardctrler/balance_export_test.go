package shardctrler

// Balance is balance, for its property tests.
var Balance = balance
