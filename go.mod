module raftlab

go 1.26

require (
	github.com/hashicorp/go-msgpack/v2 v2.1.5
	github.com/tidwall/btree v1.8.1
)
