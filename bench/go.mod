module raftlab/bench

go 1.26

require (
	github.com/anishathalye/porcupine v1.3.1
	raftlab v0.0.0
)

replace raftlab => ../
