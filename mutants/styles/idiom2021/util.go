package raft

import (
	"log"
	"math/rand"
	"time"
)

// Debug turns the debug prints on.
const Debug = false

// DPrintf prints when Debug is set.
func DPrintf(format string, a ...interface{}) {
	if Debug {
		log.Printf(format, a...)
	}
}

// Times of the polling loops.
const (
	pollInterval      = 10 * time.Millisecond
	heartbeatInterval = 110 * time.Millisecond
	electionMin       = 300 * time.Millisecond
	electionSpread    = 300 * time.Millisecond
)

func randomElectionTimeout() time.Duration {
	return electionMin + time.Duration(rand.Int63n(int64(electionSpread)))
}

func max(a, b int) int {
	if a > b {
		return a
	}
	return b
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}
