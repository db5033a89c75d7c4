package etcdapi

// The Go code of the services Lock and Election needs protoc, and the plugins protoc-gen-go
// and protoc-gen-go-grpc in the path:
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
//
//go:generate go run descriptors.go etcd.pb
//go:generate protoc --descriptor_set_in=etcd.pb --proto_path=v3lockpb --go_out=. --go_opt=module=raftlab/internal/etcdapi --go-grpc_out=. --go-grpc_opt=module=raftlab/internal/etcdapi v3lock.proto
//go:generate protoc --descriptor_set_in=etcd.pb --proto_path=v3electionpb --go_out=. --go_opt=module=raftlab/internal/etcdapi --go-grpc_out=. --go-grpc_opt=module=raftlab/internal/etcdapi v3election.proto
//go:generate rm etcd.pb
