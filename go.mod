module raftlab

go 1.26

require (
	github.com/hashicorp/go-msgpack/v2 v2.1.5
	github.com/tidwall/btree v1.8.1
	go.etcd.io/bbolt v1.5.0
)

require golang.org/x/sys v0.45.0 // indirect
